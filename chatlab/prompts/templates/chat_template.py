"""A tokenizer's own chat template, behind the same interface as the prompt classes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from inspect import isfunction, ismethod
from pathlib import Path
from typing import Any, Self

from chatlab.errors import PromptError, TemplateError, TokenizerLoadError, harmless
from chatlab.folder import read_bytes, read_json
from chatlab.prompts.base import KEY_OF, ChatContent
from chatlab.prompts.filling import ROLES
from chatlab.prompts.messages import MessagePrompt, messages_of
from chatlab.prompts.plain_data import plain_data
from chatlab.prompts.templates.sandbox import TemplateLimits, render, render_untrusted

Rewrite = Callable[[str, str], str]

# Templates compare the values of these keys with words of their own, so a mark in them would change the choice.
_COMPARED = ("role", "type")
_PLAIN_WORDS = (*ROLES, "function", "text", "object", "array", "string", "number", "integer", "boolean", "null")
_QUOTED = re.compile(r"(['\"])([\w-]+)\1")
"""A word that a template may compare a role or type with."""

_SPECIAL_TOKENS = tuple(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))
"""Those that transformers tells a template, out of all that a configuration may name."""

_LOOKED_UP = re.compile(r"[.'\"]([\w-]+)")
"""What may be a key in a template: ``message.content``, ``message['content']``."""

_WRITES_ARGUMENT_TEXT = re.compile(r"arguments['\"]?\]?\s*(?:is\s+string|[+~])")
"""Where a template writes the arguments of a call as they are, if they are text, or always."""


class ChatTemplatePrompt(MessagePrompt):
    """A dialogue rendered by the chat template that a tokenizer carries.

    The template is the vendor's word on the format, so this is what the prompt classes are measured
    against. The reply is opened (``add_generation_prompt``) while the last message is an open reply.

    Args:
        tokenizer: an AutoTokenizer, or one of ``load_tokenizer`` that holds one; or a folder with
            ``chat_template.jinja`` or ``tokenizer_config.json``.
        chat_template: a template instead of the tokenizer's, or the name of one where it has several.
        tools: JSON schemas, or functions with type hints and a docstring.
        clock: the time that the template is told; None for the time it is.
        untrusted: render in a child process under ``limits``; so it is over a tokenizer that was loaded so.
        limits: time, memory and output of an untrusted template.
        variables: what else the template asks for: ``documents``, or switches such as ``enable_thinking=False``,
            which are trusted.

    Raises:
        TemplateError: there is no template.
    """

    add_special_tokens = False

    def __init__(
        self,
        tokenizer: Any,
        *,
        chat_template: str | None = None,
        tools: Sequence[Mapping[str, Any] | Callable[..., Any]] | None = None,
        clock: datetime | None = None,
        untrusted: bool = False,
        limits: TemplateLimits = TemplateLimits(),  # noqa: B008 - frozen
        **variables: Any,
    ) -> None:
        super().__init__()
        tokenizer = getattr(tokenizer, "wrapped", None) or tokenizer
        templates, self.special_tokens = _read(tokenizer)
        self._templates, self._given_template = templates, chat_template
        self.clock, self.limits = clock, limits
        self.untrusted = untrusted or bool(getattr(tokenizer, "untrusted", False))
        self.tools: list[dict[str, Any]] | None = None
        self.variables: dict[str, Any] = {}
        self.set_tools_and_variables(tools, variables)
        self.special_token_strs = tuple(self.special_tokens.values())
        if not isinstance(tokenizer, str | Path):
            self.set_tokenizer(tokenizer)

    def set_tools_and_variables(
        self, tools: Sequence[Mapping[str, Any] | Callable[..., Any]] | None, variables: Mapping[str, Any]
    ) -> None:
        """Offer other tools, or None to keep those there are, and add variables; a tokenizer's template for tools is taken.

        Raises:
            PromptError: a tool is neither a JSON schema nor a function, or documents are no list of objects.
            TemplateError: there is no template.
        """
        if tools is not None:
            self.tools = [_schema(tool) for tool in tools]
        self.chat_template = _chosen(self._templates, self._given_template, self.tools is not None)
        self.variables = {**self.variables, **plain_data(variables)}
        _check_documents(self.variables.get("documents"))

    def writes_token(self, piece: str) -> bool:
        """Whether the template spells this token, or has it among its special tokens."""
        return piece in self.special_token_strs or piece in self.chat_template

    @property
    def reads_argument_text(self) -> bool:
        """Whether the template writes the arguments of a call as they are, where they are text."""
        return _WRITES_ARGUMENT_TEXT.search(self.chat_template) is not None

    def set_system(self, system: str) -> None:
        """Give the plain system text: the template knows its place."""
        self.set_system_prompt(system)

    def get_messages(self, opts: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The messages as the template gets them, the system text first; an open reply is left out."""
        return messages_of(self, opts)

    def get_stop_strs(self) -> list[str] | None:
        """The end-of-sequence token."""
        if not self.chat_mode:
            return None
        return [self.special_tokens["eos_token"]] if "eos_token" in self.special_tokens else []

    def create_prompt(self, opts: Mapping[str, Any] | None = None) -> str:
        """What the template writes; with chat mode off, the last requester message alone.

        Raises:
            TemplateError: the template fails or refuses the messages.
            TemplateLimitError: an untrusted template overstepped a limit.
            TemplateSyntaxError: the template is not Jinja.
        """
        if not self.chat_mode:
            return self.get_requester_last_msg() or ""
        contents = self.get_contents(opts)
        variables = {
            **self.special_tokens,
            **self.variables,
            "messages": [_with_reasoning(message) for message in self.get_messages(opts)],
            "tools": self.tools,
            "documents": self.variables.get("documents"),
            "add_generation_prompt": bool(contents) and contents[-1].is_open_reply(),
        }
        if self.untrusted:
            return render_untrusted(self.chat_template, variables, clock=self.clock, limits=self.limits)
        return render(self.chat_template, variables, clock=self.clock)

    def _with_system_prompt(self, contents: list[ChatContent]) -> list[ChatContent]:
        return contents

    def with_texts(self, rewrite: Rewrite) -> Self:
        """A copy in which every text from outside is changed: messages, their fields, tools and documents."""
        twin = super().with_texts(rewrite)
        rewriter = _FieldRewriter(self.chat_template, rewrite)
        twin._contents = [
            replace(c, fields=rewriter.value(c.fields, f"{c.role_name} message {c.message_id}")) for c in twin._contents
        ]
        twin.tools = rewriter.value(self.tools, "tool list")
        if "documents" in self.variables:
            documents = rewriter.value(self.variables["documents"], "documents")
            twin.variables = {**self.variables, "documents": documents}
        return twin

    def to_dict(self) -> dict[str, Any]:
        """Everything that was set or said, as plain data; the tokenizer and its own template are not part of it."""
        return {
            **super().to_dict(),
            "chat_template": self._given_template,
            "tools": self.tools,
            "clock": self.clock.isoformat() if self.clock else None,
            "untrusted": self.untrusted,
            "limits": asdict(self.limits),
            "variables": self.variables,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], tokenizer: Any = None) -> Self:
        """The prompt that ``to_dict`` wrote down, over ``tokenizer``.

        Data from elsewhere may bring a template of their own: set ``untrusted`` to True in them.

        Raises:
            PromptError: the data belong to another class, lack a field or hold a wrong one, or no tokenizer is given.
        """
        if tokenizer is None:
            raise PromptError("a ChatTemplatePrompt needs its tokenizer: from_dict(data, tokenizer)")
        try:
            options = {
                "clock": datetime.fromisoformat(data["clock"]) if data.get("clock") else None,
                "limits": TemplateLimits(**data.get("limits", {})),
                "tools": None if data.get("tools") is None else [dict(tool) for tool in data["tools"]],
                **data.get("variables", {}),
            }
        except (TypeError, ValueError) as error:
            raise PromptError(f"not the data of a {cls.__name__}: {error!r}") from error
        prompt = cls(
            tokenizer, chat_template=data.get("chat_template"), untrusted=data.get("untrusted", False), **options
        )
        prompt._restore(data)
        return prompt


def _read(tokenizer: Any) -> tuple[dict[str, str], dict[str, str]]:
    """The chat templates of a tokenizer or folder by name, and its special tokens."""
    if isinstance(tokenizer, str | Path):
        return _read_folder(Path(tokenizer))
    template = getattr(tokenizer, "chat_template", None)
    templates = dict(template) if isinstance(template, Mapping) else {"default": template} if template else {}
    special = {k: str(v) for k, v in getattr(tokenizer, "special_tokens_map", {}).items() if not isinstance(v, list)}
    return templates, special


def _read_folder(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    if not folder.is_dir():
        raise TemplateError(f"there is no folder {folder}: pass a folder that holds a chat template, or a tokenizer")
    try:
        # Older folders keep their special tokens apart, and a template that lacks its BOS says nothing of it.
        paths = (folder / name for name in ("special_tokens_map.json", "tokenizer_config.json"))
        found = [read_json(path, within=folder) for path in paths if os.path.lexists(path)]
        config = {key: value for one in found for key, value in one.items() if value is not None}
        named = config.get("chat_template") or {}
        templates = {t["name"]: t["template"] for t in named} if isinstance(named, list) else {"default": named}
        # The file came later than the field and wins over it, as in transformers.
        for jinja in (folder / "chat_template.jinja", *sorted((folder / "additional_chat_templates").glob("*.jinja"))):
            if os.path.lexists(jinja):
                name = "default" if jinja.stem == "chat_template" else jinja.stem
                templates[name] = read_bytes(jinja, within=folder).decode("utf-8")
    except (TokenizerLoadError, RecursionError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TemplateError(f"cannot read the chat template of {folder}: {error}") from harmless(error)
    special = {k: v.get("content") if isinstance(v, dict) else v for k, v in config.items() if k in _SPECIAL_TOKENS}
    texts = {str(name): str(text) for name, text in templates.items() if text}
    return texts, {k: v for k, v in special.items() if isinstance(v, str)}


def _chosen(templates: Mapping[str, str], wanted: str | None, has_tools: bool) -> str:
    if wanted is not None and (wanted in templates or "{" in wanted):
        return templates.get(wanted, wanted)
    if wanted is not None:
        raise TemplateError(
            f"no chat template is called {wanted!r:.80}, and it is none itself: there are {', '.join(templates) or 'none'}"
        )
    if has_tools and "tool_use" in templates:
        return templates["tool_use"]
    if "default" in templates:
        return templates["default"]
    found = (
        f"it has only {', '.join(templates)}: name one" if templates else "use a prompt class, or give chat_template"
    )
    raise TemplateError(f"the tokenizer has no default chat template: {found}")


def _with_reasoning(message: dict[str, Any]) -> dict[str, Any]:
    """The message with its reasoning under each name that a template may read, as transformers hands it over."""
    reasoning = next(
        (message[name] for name in ("reasoning_content", "thinking", "reasoning") if name in message), None
    )
    return message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning}


def _schema(tool: Mapping[str, Any] | Callable[..., Any]) -> dict[str, Any]:
    if isinstance(tool, Mapping):
        schema: dict[str, Any] = plain_data(tool)
        return schema
    if not isfunction(tool) and not ismethod(tool):
        raise PromptError(f"a tool is a JSON schema or a function, not {tool!r:.80}")
    from transformers.utils import get_json_schema

    try:
        return plain_data(get_json_schema(tool))  # type: ignore[no-any-return]  # a dict in, a dict out
    except Exception as error:  # of several kinds: no docstring, no type hint, a type it does not know
        raise PromptError(f"no JSON schema can be made of {tool.__name__}: {error}") from error


def _check_documents(documents: object) -> None:
    if documents is not None and not (
        isinstance(documents, list | tuple) and all(isinstance(document, Mapping) for document in documents)
    ):
        raise PromptError(f'documents is a list of objects such as {{"title": …, "text": …}}, not {documents!r:.80}')


class _FieldRewriter:
    """Rewrites every string in a value, and every key that the template does not look up by its name."""

    def __init__(self, template: str, rewrite: Rewrite) -> None:
        self._rewrite = rewrite
        self._looked_up = frozenset(_LOOKED_UP.findall(template))
        self._words = frozenset(word for _, word in _QUOTED.findall(template)).union(_PLAIN_WORDS)

    def value(self, value: Any, whose: str) -> Any:
        if isinstance(value, str):
            return self._rewrite(value, whose)
        if isinstance(value, Mapping):
            return dict(self._items(value, whose))
        if isinstance(value, list | tuple):
            return [self.value(item, whose) for item in value]
        return value

    def _items(self, items: Mapping[Any, Any], whose: str) -> Iterator[tuple[Any, Any]]:
        for key, item in items.items():
            if key in _COMPARED and isinstance(item, str) and item in self._words:
                yield key, item
            else:
                is_kept = key in self._looked_up or not isinstance(key, str)
                yield key if is_kept else self._rewrite(key, KEY_OF + whose), self.value(item, whose)
