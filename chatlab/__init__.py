"""chatlab: see where a chat model's echo differs from its prompt, and stream without that bug.

Names load on first use, so ``import chatlab`` costs milliseconds and loads neither torch,
transformers nor a user interface.

>>> import chatlab
>>> chatlab.ChatPromptMetaLlamaLlama2Chat.__name__
'ChatPromptMetaLlamaLlama2Chat'
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "AbstractChatPrompt": "prompts.base",
    "BatchEngine": "engines.batch",
    "ChatPanel": "widgets.chat_panel",
    "ChatPromptMetaLlamaLlama2Chat": "prompts.formats.llama2",
    "ChatStream": "server.chat_stream",
    "ChatTemplatePrompt": "prompts.templates.chat_template",
    "ChatlabError": "errors",
    "Conversation": "streaming.conversation.conversation",
    "Dialogue": "prompts.dialogue",
    "DriftExplorer": "widgets.drift_explorer",
    "EchoView": "widgets.echo_view",
    "LocalEngine": "engines.local",
    "RemoteEngine": "engines.remote",
    "RevisionView": "widgets.revision_view",
    "RoleType": "prompts.base",
    "SamplingParams": "engines.sampling",
    "SentenceStop": "buffering.sentence_stop",
    "StreamView": "widgets.stream_view",
    "StreamingDetokenizer": "streaming.detokenizer",
    "TokFlow": "buffering.tokflow",
    "TurnsView": "widgets.turns.turns_view",
    "astream": "streaming.stream",
    "audit_template": "turns.audit.audit",
    "bisect_revisions": "history.bisection",
    "check": "locks.check",
    "compare_revisions": "revisions.compare",
    "diagnose": "diagnosis.diagnosis",
    "load_model": "engines.load",
    "load_tokenizer": "tokenizers.load",
    "lock": "locks.lock",
    "measure_drift": "echo.experiment",
    "measure_turns": "turns.measure",
    "prompt_class": "prompts.formats.registry",
    "prompt_for": "prompts.templates.choice",
    "read_dialogues": "prompts.dialogue",
    "snapshot": "snapshots.snapshot",
    "stream": "streaming.stream",
    "stream_many": "streaming.many",
    "sweep": "sweeps.run",
    "trace_echo": "echo.trace",
    "trace_turns": "turns.trace",
}
"""Every public name and where it stands: the one list; the types below are held equal to it by a test."""

__all__ = sorted(_HOME)

if TYPE_CHECKING:
    from chatlab.buffering.sentence_stop import SentenceStop as SentenceStop
    from chatlab.buffering.tokflow import TokFlow as TokFlow
    from chatlab.diagnosis.diagnosis import diagnose as diagnose
    from chatlab.echo.experiment import measure_drift as measure_drift
    from chatlab.echo.trace import trace_echo as trace_echo
    from chatlab.engines.batch import BatchEngine as BatchEngine
    from chatlab.engines.load import load_model as load_model
    from chatlab.engines.local import LocalEngine as LocalEngine
    from chatlab.engines.remote import RemoteEngine as RemoteEngine
    from chatlab.engines.sampling import SamplingParams as SamplingParams
    from chatlab.errors import ChatlabError as ChatlabError
    from chatlab.history.bisection import bisect_revisions as bisect_revisions
    from chatlab.locks.check import check as check
    from chatlab.locks.lock import lock as lock
    from chatlab.prompts.base import AbstractChatPrompt as AbstractChatPrompt
    from chatlab.prompts.base import RoleType as RoleType
    from chatlab.prompts.dialogue import Dialogue as Dialogue
    from chatlab.prompts.dialogue import read_dialogues as read_dialogues
    from chatlab.prompts.formats.llama2 import ChatPromptMetaLlamaLlama2Chat as ChatPromptMetaLlamaLlama2Chat
    from chatlab.prompts.formats.registry import prompt_class as prompt_class
    from chatlab.prompts.templates.chat_template import ChatTemplatePrompt as ChatTemplatePrompt
    from chatlab.prompts.templates.choice import prompt_for as prompt_for
    from chatlab.revisions.compare import compare_revisions as compare_revisions
    from chatlab.server.chat_stream import ChatStream as ChatStream
    from chatlab.snapshots.snapshot import snapshot as snapshot
    from chatlab.streaming.conversation.conversation import Conversation as Conversation
    from chatlab.streaming.detokenizer import StreamingDetokenizer as StreamingDetokenizer
    from chatlab.streaming.many import stream_many as stream_many
    from chatlab.streaming.stream import astream as astream
    from chatlab.streaming.stream import stream as stream
    from chatlab.sweeps.run import sweep as sweep
    from chatlab.tokenizers.load import load_tokenizer as load_tokenizer
    from chatlab.turns.audit.audit import audit_template as audit_template
    from chatlab.turns.measure import measure_turns as measure_turns
    from chatlab.turns.trace import trace_turns as trace_turns
    from chatlab.widgets.chat_panel import ChatPanel as ChatPanel
    from chatlab.widgets.drift_explorer import DriftExplorer as DriftExplorer
    from chatlab.widgets.echo_view import EchoView as EchoView
    from chatlab.widgets.revision_view import RevisionView as RevisionView
    from chatlab.widgets.stream_view import StreamView as StreamView
    from chatlab.widgets.turns.turns_view import TurnsView as TurnsView


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        # With its name and object, Python says which name is near.
        raise AttributeError(f"module 'chatlab' has no attribute {name!r}", name=name, obj=sys.modules[__name__])
    value = getattr(importlib.import_module(f"chatlab.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
