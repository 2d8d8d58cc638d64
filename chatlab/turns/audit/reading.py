"""What an audit is about: templates, special tokens, ids, and the record of the files where there are any."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chatlab.child.call import ChildLimits
from chatlab.errors import ChatlabError, TemplateError, TokenizerLoadError
from chatlab.folder import read_bytes
from chatlab.snapshots.recorder import SPECIAL_NAMES, file_specials, file_templates, named_templates
from chatlab.snapshots.snapshot import take
from chatlab.snapshots.views import Record
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.load import as_tokenizer, load_tokenizer
from chatlab.tokenizers.source import Source, resolve

STAND_INS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
"""Special tokens of a template that comes without a tokenizer."""

Encode = Callable[..., list[int]]


@dataclass(frozen=True, kw_only=True)
class AuditSource:
    """A template with what is known of its tokenizer."""

    name: str
    templates: Mapping[str, str]
    """``default``, and ``tool_use`` where another one is taken with tools."""
    specials: Mapping[str, str]
    encode: Encode | None
    """Text → ids, with ``add_special_tokens``; ``None`` where there is a template alone."""
    record: Record | None
    """What the files say and do; ``None`` where there are none."""

    @property
    def argument(self) -> dict[str, Any]:
        """What a child is asked with."""
        return {"templates": dict(self.templates), "specials": dict(self.specials)}

    @property
    def limits(self) -> ChildLimits:
        """What a child may use for all its renders."""
        return ChildLimits.for_bytes(sum(map(len, self.templates.values())))


def is_template(value: Any) -> bool:
    """Whether a text is a template and no path or hub id."""
    return isinstance(value, str) and ("{%" in value or "{{" in value)


def read_source(source: Any, chat_template: str | None = None) -> AuditSource:
    """Return what there is to audit.

    Raises:
        TemplateError: there is no chat template.
        TokenizerLoadError: it is nothing that can be read.
    """
    if is_template(source):
        found = AuditSource(
            name="template", templates={"default": source}, specials=STAND_INS, encode=None, record=None
        )
    elif is_template_file(source):
        found = read_source(template_file(Path(source)))
    elif isinstance(source, str | Path | Source):
        found = _of_files(source if isinstance(source, Source) else resolve(source))
    else:
        found = _of_tokenizer(source)
    return _with_template(found, chat_template)


def is_template_file(value: Any) -> bool:
    """Whether it is a template, its text or a file of it, and comes without a tokenizer."""
    return is_template(value) or isinstance(value, str | Path) and Path(value).suffix in (".jinja", ".j2")


def template_file(path: Path) -> str:
    """Return the template that a file holds.

    Raises:
        TemplateError: it holds none.
        TokenizerLoadError: it cannot be read.
    """
    text = read_bytes(path, within=path.parent).decode("utf-8", "replace")
    if not is_template(text):
        raise TemplateError(f"{path.name} holds no chat template: there is no {{% or {{{{ in it")
    return text


def _of_files(source: Source) -> AuditSource:
    record = take(source).record
    documents = dict(record["documents"])
    tokenizer = _tokenizer(source) if any("error" not in view for view in record["views"].values()) else None
    return AuditSource(
        name=source.name,
        templates=_chosen(file_templates(documents), source.name),
        specials=file_specials(documents),
        encode=tokenizer.encode if tokenizer is not None else None,
        record=record,
    )


def _tokenizer(source: Source) -> Tokenizer | None:
    spec = (source.repo_id, source.revision) if source.repo_id is not None else (source.place or source.folder, None)
    try:
        return load_tokenizer(*spec, untrusted=True)
    except ChatlabError:
        return None


def _of_tokenizer(given: Any) -> AuditSource:
    tokenizer = as_tokenizer(given)
    inner = tokenizer.wrapped
    if inner is None and tokenizer.source is not None:  # it stays in a child, or its library has no templates
        return replace(_of_files(tokenizer.source), encode=tokenizer.encode)
    if inner is None:
        raise TemplateError(f"{tokenizer.name} carries no chat template: give chat_template")
    names = ((name, getattr(inner, name, None)) for name in SPECIAL_NAMES)
    return AuditSource(
        name=tokenizer.name,
        templates=_chosen(named_templates(inner.chat_template), tokenizer.name),
        specials={name: str(value) for name, value in names if value},
        encode=tokenizer.encode,
        record=take(tokenizer.source).record if tokenizer.source is not None else None,
    )


def _chosen(templates: Mapping[str, str], name: str) -> dict[str, str]:
    found = {key: text for key, text in templates.items() if key in ("default", "tool_use")}
    if not found and templates:
        raise TemplateError(f"{name} has no default chat template: give one of {', '.join(templates)} as chat_template")
    return found


def _with_template(found: AuditSource, chat_template: str | None) -> AuditSource:
    """Return the source with another template in place of its own."""
    if chat_template is None and "default" not in found.templates:
        raise TemplateError(f"{found.name} has no chat template to audit: give chat_template")
    if chat_template is None:
        return found
    if not is_template(chat_template):
        raise TokenizerLoadError(f"chat_template is {chat_template!r:.80}: give the text of a template")
    return AuditSource(
        name=f"{found.name} with another template",
        templates={"default": chat_template},
        specials=found.specials or STAND_INS,
        encode=found.encode,
        record=found.record,
    )
