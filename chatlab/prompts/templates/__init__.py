"""A tokenizer's own chat template as a prompt class, and the sandbox that renders it.

What a vendor's card says instead of a template is a format, and stands in ``formats/``; no tokenizer is loaded here.
"""
