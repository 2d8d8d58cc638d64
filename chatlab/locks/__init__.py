"""A tokenizer pinned in a file: lock it, keep the file, check it later, use it in a test.

What changed between two snapshots is decided in ``revisions``, not here.
"""
