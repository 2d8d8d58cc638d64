"""What changed between two revisions of a tokenizer, or two library versions, and does it break a prompt?"""
