"""A tokenizer's own chat template as a prompt class, and the sandbox that renders it."""
