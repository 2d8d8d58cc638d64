"""Prompt classes: a dialogue in, the text that one model reads out; with what is asked of dialogues and prompts.

Families stand in ``formats/``, chat templates in ``templates/``, the law of text in ``control_tokens/``; no model runs here.
"""
