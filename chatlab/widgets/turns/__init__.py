"""A followed conversation to look at."""
