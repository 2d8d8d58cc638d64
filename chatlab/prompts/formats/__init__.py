"""The prompt formats of model families, one file a family, and the registry that finds the right one.

What every prompt class does stands above, in ``prompts.base``; a tokenizer's own template is not a format.
"""
