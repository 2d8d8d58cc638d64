"""What a tokenizer is and does, written down once: the recorder, its probe corpus and its cache.

Nothing here compares two of them or gives a verdict; the recorder runs alone, under any transformers since 4.31.
"""
