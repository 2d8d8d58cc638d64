"""One call before all theory: is anything wrong with this model's tokenizer and template, and what to paste."""
