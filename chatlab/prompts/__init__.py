"""Prompt classes: a dialogue in, the prompt text of one model family out."""
