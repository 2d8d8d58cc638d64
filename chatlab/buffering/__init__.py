"""Text that arrives in fragments: replaced, stopped, and held back no longer than it must be."""

from chatlab.buffering.sentence_stop import SentenceStop as SentenceStop
from chatlab.buffering.tokflow import TokFlow as TokFlow
