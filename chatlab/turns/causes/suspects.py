"""Every experiment on a border: where it is likely, what it changes, what it proves."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from chatlab.laboratory.experiment import Experiment
from chatlab.laboratory.tokenizer_copy import ChangedTokenizer
from chatlab.prompts.filling import text_of
from chatlab.prompts.templates.sandbox import asked_variables
from chatlab.turns.causes.case import Case, TurnSetting, bos_id
from chatlab.turns.causes.parts import Parts
from chatlab.turns.causes.place import Place
from chatlab.turns.causes.reading import TurnReading, read_turn
from chatlab.turns.edits import Cause

TurnExperiment = Experiment[TurnSetting, TurnReading, Place]
Fits = Callable[[TurnReading, Place], bool]


def _always(seen: TurnReading, place: Place) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class CopySuspect(ChangedTokenizer[TurnSetting, TurnReading, Place]):
    """Something in the tokenizer: the ids are others, and the text is the same."""

    cause: Cause

    def applies(self, place: Place) -> bool:
        """Tell whether the text is the same."""
        return place.same_text

    def control(self, setting: TurnSetting) -> TurnSetting | None:
        """Return the setting with a copy made in the same way; of given ids, those that are made here."""
        copied = super().control(setting)
        return copied and replace(copied, own=setting.case.given)


@dataclass(frozen=True, kw_only=True)
class Otherwise(TurnExperiment):
    """Something that the model, the template, the program or the server does, done otherwise."""

    cause: Cause
    words: str
    change: Callable[[TurnSetting], TurnSetting]
    fits: Fits = _always
    """Where there is something of the kind to change."""
    about_text: bool | None = True
    """Whether it changes the text; None where it may do either."""
    heals_head: bool = False
    """Whether it changes what was seen, so that gone is what leaves nothing of the kind anywhere in the head."""
    remakes: bool = False
    """Whether making given ids here is the change itself, so that its control leaves them as they were."""
    null: Callable[[TurnSetting], TurnSetting] = lambda setting: setting
    """The same way with nothing changed."""

    def in_words(self) -> str:
        """Return what is done otherwise."""
        return self.words

    def applies(self, place: Place) -> bool:
        """Tell whether text differs, where the change is about text; or only ids, where it is about ids."""
        return self.about_text is None or self.about_text is not place.same_text

    def changed(self, setting: TurnSetting, seen: TurnReading, place: Place) -> TurnSetting | None:
        """Return the setting with the one thing done otherwise, or ``None`` where it is so already."""
        if not self.fits(seen, place) or (self.heals_head and not place.in_head):
            return None
        changed = self.change(setting)
        return None if changed == setting else changed

    def control(self, setting: TurnSetting) -> TurnSetting | None:
        """Return the setting made in the same way with nothing changed; given ids are made here."""
        null = self.null(setting)
        return replace(null, own=True) if setting.case.given and not self.remakes else null

    def undoes(self, place: Place, after: TurnReading) -> bool:
        """Tell whether nothing differs there any more."""
        if self.heals_head:
            return not any(gap.said_text[0] < after.head_len for gap in after.gaps)
        return place.is_gone_in(after)


def _restore(cause: Cause, words: str, fits: Callable[[Parts, Parts], bool], *names: str) -> Otherwise:
    def fit(seen: TurnReading, place: Place) -> bool:
        given, written = seen.given_parts, seen.written_parts
        return given is not None and written is not None and fits(given, written)

    def change(setting: TurnSetting) -> TurnSetting:
        return replace(setting, restored=setting.restored | set(names))

    return Otherwise(cause=cause, words=words, change=change, fits=fit)


def _opening_fits(seen: TurnReading, place: Place) -> bool:
    region, given, written = seen.region, seen.given_parts, seen.written_parts
    if region is None:
        return False
    adds = given is not None and written is not None and not given.reasoning and bool(written.reasoning)
    return region.opened_len < len(region.opening) or adds


def _open_alike(setting: TurnSetting) -> TurnSetting:
    case = setting.case
    reading = read_turn(setting)
    given = reading.given_parts
    adds = {"reasoning"} if given is not None and not given.reasoning and case.writer.chat_template else set()
    return replace(setting, restored=setting.restored | {"opening"} | adds)


def _end_fits(seen: TurnReading, place: Place) -> bool:
    return bool(seen.said_end) and place.gap.said[1] >= len(seen.border.said_ids) + seen.border.end_len - 1


def _doubled_fits(seen: TurnReading, place: Place) -> bool:
    return any(text_of(seen.stored.get("content")).rstrip().endswith(end) for end in seen.case.end_strs)


def _contents(seen: TurnReading) -> tuple[str, str]:
    """What the program stored of a reply and what it was to store; two equal texts where it stored all of it."""
    call = seen.case.call
    if seen.setting.ideal or call.stored == call.ideal:
        return "", ""
    return text_of((call.stored or {}).get("content")), text_of((call.ideal or {}).get("content"))


def _is_stripped(seen: TurnReading, place: Place) -> bool:
    stored, ideal = _contents(seen)
    return stored != ideal and stored == ideal.strip()


def _is_skipped(seen: TurnReading, place: Place) -> bool:
    stored, ideal = _contents(seen)
    return (
        stored != ideal and not _is_stripped(seen, place) and stored == seen.case.tokenizer.without_special_strs(ideal)
    )


def _is_stopped(seen: TurnReading, place: Place) -> bool:
    stored, ideal = _contents(seen)
    return (
        stored != ideal
        and ideal.startswith(stored)
        and not (_is_stripped(seen, place) or _is_skipped(seen, place) or _doubled_fits(seen, place))
    )


def _is_changed(seen: TurnReading, place: Place) -> bool:
    call = seen.case.call
    if seen.setting.ideal or call.stored == call.ideal:
        return False
    return not any(fits(seen, place) for fits in (_is_stripped, _is_skipped, _is_stopped, _doubled_fits))


def _store_all(setting: TurnSetting) -> TurnSetting:
    return replace(setting, ideal=True)


def _stored(cause: Cause, words: str, fits: Fits) -> Otherwise:
    return Otherwise(cause=cause, words=words, change=_store_all, fits=fits)


def _is_cut(seen: TurnReading, place: Place) -> bool:
    messages, at = seen.after
    before = seen.before
    return at is None or at != len(before) or messages[: len(before)] != before


def _has_clock(seen: TurnReading, place: Place) -> bool:
    return seen.case.call.clock != seen.case.after.clock


def _has_system(seen: TurnReading, place: Place) -> bool:
    return any(m["role"] in ("system", "developer") for m in seen.case.call.messages)


def _has_tools(seen: TurnReading, place: Place) -> bool:
    return bool(seen.case.writer.tools)


def _has_thoughts(seen: TurnReading, place: Place) -> bool:
    fields = ("reasoning_content", "thinking", "reasoning")
    return any(m["role"] == "assistant" and any(m.get(f) for f in fields) for m in seen.case.call.messages)


def _had_thoughts(seen: TurnReading, place: Place) -> bool:
    return place.in_head and place.is_thought and not seen.setting.uncut


def _has_bos(seen: TurnReading, place: Place) -> bool:
    bos = bos_id(seen.case.tokenizer)
    said, after = seen.border.prompt_ids[:1], seen.border.next_ids[:1]
    return place.gap.said[0] == 0 and said != after and (bos,) in (said, after)


def _is_given(seen: TurnReading, place: Place) -> bool:
    return seen.case.given and not seen.setting.own and bool(seen.case.call.messages)


def _is_not_canonical(seen: TurnReading, place: Place) -> bool:
    ids, ends = seen.reply_ids, seen.case.end_ids
    body = ids[:-1] if ids and ids[-1] in ends else ids
    return place.gap.said[1] > len(seen.border.prompt_ids) and body != seen.canonical_ids


def _leave_out(name: str) -> Callable[[TurnSetting], TurnSetting]:
    return lambda setting: replace(setting, without=setting.without | {name})


def _thought(given: Parts, written: Parts) -> bool:
    return bool(given.thoughts and not written.thoughts or given.reasoning and not written.reasoning)


def _thought_otherwise(given: Parts, written: Parts) -> bool:
    return given.reasoning != written.reasoning and not _thought(given, written)


def _told(setting: TurnSetting, name: str, value: object) -> TurnSetting:
    return replace(setting, variables=(*setting.variables, (name, value)))


FLAGS = {"lstrip": False, "rstrip": False}
"""Added tokens that take nothing of what stands beside them."""

IDS: tuple[TurnExperiment, ...] = (
    Otherwise(
        cause=Cause.NOT_CANONICAL,
        words="let the model say the ids that its text has",
        change=lambda setting: replace(setting, canonical=True),
        fits=_is_not_canonical,
        about_text=False,
    ),
    CopySuspect(cause=Cause.ADDED_TOKEN_STRIP, change="added_token_flags", argument=FLAGS),
    CopySuspect(cause=Cause.DUMMY_PREFIX, change="prefix_first_only"),
    CopySuspect(cause=Cause.DUMMY_PREFIX, change="prefix_never"),
    Otherwise(
        cause=Cause.BOS,
        words="compare without the BOS that one side has",
        change=lambda setting: replace(setting, without_bos=True),
        fits=_has_bos,
        about_text=None,
    ),
    Otherwise(
        cause=Cause.MERGED,
        words="encode the reply apart from what stands round it",
        change=lambda setting: replace(setting, apart=True),
        about_text=False,
    ),
)
"""Experiments on ids."""

PROGRAM: tuple[TurnExperiment, ...] = (
    _stored(Cause.REPLY_STRIPPED, "store the reply with its outer blanks", _is_stripped),
    _stored(Cause.SPECIAL_SKIPPED, "store the reply with its control tokens", _is_skipped),
    _stored(Cause.END_DOUBLED, "store the reply without its end token", _doubled_fits),
    _stored(Cause.STOP_REMOVED, "store the reply with the text that it ended in", _is_stopped),
    _stored(Cause.REPLY_CHANGED, "store what was said", _is_changed),
    Otherwise(
        cause=Cause.CONTEXT_CUT,
        words="give every message that the call had",
        change=lambda setting: replace(setting, uncut=True),
        fits=_is_cut,
    ),
    Otherwise(
        cause=Cause.OTHER_PROMPT,
        words="write and encode both prompts here",
        change=lambda setting: replace(setting, own=True),
        fits=_is_given,
        about_text=None,
        remakes=True,
    ),
)
"""Experiments on what a program, or a server, made of the reply and of the history."""

TEMPLATE: tuple[TurnExperiment, ...] = (
    Otherwise(
        cause=Cause.CLOCK,
        words="tell the template the time of the call before",
        change=lambda setting: replace(setting, frozen=True),
        fits=_has_clock,
    ),
    Otherwise(
        cause=Cause.SYSTEM_MOVED, words="leave the system text out", change=_leave_out("system"), fits=_has_system,
        heals_head=True,
    ),
    Otherwise(
        cause=Cause.TOOLS_MOVED, words="offer no tools", change=_leave_out("tools"), fits=_has_tools, heals_head=True
    ),
    Otherwise(
        cause=Cause.REASONING_DROPPED, words="give the earlier replies without their reasoning",
        change=_leave_out("reasoning"), fits=_has_thoughts, heals_head=True,
    ),
    Otherwise(
        cause=Cause.REASONING_DROPPED, words="let no new message follow the reply",
        change=lambda setting: replace(setting, alone=True), fits=_had_thoughts,
    ),
    _restore(Cause.REASONING_DROPPED, "put the reasoning where it was said", _thought, "reasoning"),
    Otherwise(
        cause=Cause.OPENING_DIFFERS, words="open the reply in the history as the prompt opened it", change=_open_alike,
        fits=_opening_fits,
    ),
    _restore(
        Cause.REPLY_TRIMMED, "put the outer blanks of the reply back",
        lambda given, written: (given.lead, given.trail) != (written.lead, written.trail), "lead", "trail",
    ),
    _restore(
        Cause.CALL_DROPPED, "put the raw text of the call back",
        lambda given, written: bool(given.calls) and not written.calls, "calls", "trail",
    ),
    _restore(
        Cause.CALL_REWRITTEN, "put the raw text of the call back",
        lambda given, written: bool(given.calls and written.calls) and given.calls != written.calls, "calls", "trail",
    ),
    _restore(Cause.REASONING_REWRITTEN, "put the reasoning back as it was said", _thought_otherwise, "reasoning"),
    _restore(
        Cause.REPLY_REWRITTEN, "put the reply back as it was given",
        lambda given, written: given.content != written.content, "lead", "content", "trail",
    ),
    Otherwise(
        cause=Cause.END_TOKEN, words="end the reply as the model ended it",
        change=lambda setting: replace(setting, restored=setting.restored | {"end"}), fits=_end_fits, about_text=None,
    ),
)  # fmt: skip
"""Experiments on what a template writes."""


def suspects_of(case: Case) -> list[TurnExperiment]:
    """Return every experiment that a border can be put to, likeliest first."""
    return [*IDS, *PROGRAM, *_switches(case.writer.chat_template), *TEMPLATE]


NULL = "chatlab_reads_no_such_variable"


def _switches(chat_template: str | None) -> Iterator[TurnExperiment]:
    """Yield the template's own variables, each turned on and off."""
    for name in switches_of(chat_template) if chat_template else ():
        for value in (True, False):
            yield Otherwise(
                cause=Cause.REASONING_DROPPED,
                words=f"give the template {name}={str(value).lower()}",
                change=lambda setting, name=name, value=value: _told(setting, name, value),  # type: ignore[misc]
                fits=_lost_thoughts,
                null=lambda setting: _told(setting, NULL, True),
            )


def _lost_thoughts(seen: TurnReading, place: Place) -> bool:
    given, written = seen.given_parts, seen.written_parts
    if place.in_head and place.is_thought:
        return True
    return given is not None and written is not None and _thought(given, written)


_KNOWN = frozenset(
    [
        "messages",
        "tools",
        "documents",
        "add_generation_prompt",
        "continue_final_message",
        "strftime_now",
        "raise_exception",
        "namespace",
        "range",
        "loop",
        "true",
        "false",
        "none",
        "True",
        "False",
        "None",
        "dict",
        "cycler",
        "joiner",
        "lipsum",
    ]
)
_TOKEN = re.compile(r"\w+_token$")


@lru_cache(maxsize=64)
def switches_of(chat_template: str) -> tuple[str, ...]:
    """Return the variables that a chat template asks its caller for, by name.

    >>> switches_of("{% if keep_thinking is defined and keep_thinking %}{{ messages }}{% endif %}{{ bos_token }}")
    ('keep_thinking',)
    """
    return tuple(n for n in asked_variables(chat_template) if n not in _KNOWN and not _TOKEN.match(n))
