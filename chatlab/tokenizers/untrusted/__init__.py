"""A tokenizer of a stranger's files, in a child of its own: the side that asks, and the side that answers."""
