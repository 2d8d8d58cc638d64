"""Since when: the first commit, or the first library version, that changes a verdict.

Each step is a comparison of ``revisions``; nothing here judges by itself.
"""
