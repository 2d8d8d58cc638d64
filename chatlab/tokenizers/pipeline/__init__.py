"""The parts of a ``tokenizer.json``: taken apart, put together, and known by what they do.

Reading one into a tokenizer belongs to the room above.
"""
