"""Conversations: does the next prompt begin with what the model saw and said, where not, why, and what to do.

Ids become text, text becomes ids again: the mirror of an echo, looked at where one call of the model borders the next.
"""
