"""The law that text never becomes a control token: where messages stand in a prompt, and how they are read as text.

What a format or a template writes lives in the rooms beside this one; nothing here knows a model family.
"""

from chatlab.prompts.control_tokens.encode import ControlTokenWarning as ControlTokenWarning
from chatlab.prompts.control_tokens.encode import EncodedPrompt as EncodedPrompt
from chatlab.prompts.control_tokens.encode import ForgedToken as ForgedToken
from chatlab.prompts.control_tokens.encode import encode_prompt as encode_prompt
