"""Every experiment on an echo: where it is likely, what it changes, what it proves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from chatlab.echo.edits import Cause
from chatlab.echo.reading import Difference, EchoReading, EchoSetting
from chatlab.laboratory.experiment import Experiment
from chatlab.laboratory.tokenizer_copy import ChangedTokenizer
from chatlab.streaming.detokenizer import REPLACEMENT_CHARACTER
from chatlab.tokenizers.pipeline.steps import SPACE_MARK

EchoExperiment = Experiment[EchoSetting, EchoReading, Difference]

DECODING = frozenset(
    {Cause.SPACES_BETWEEN_SPECIALS, Cause.CLEAN_UP, Cause.DECODER_STRIP, Cause.DECODER_JOIN, Cause.BYTE_FALLBACK}
)
"""Causes that lie in decoding: where the ids cannot tell the prompt from the echo, none of them is enough."""

Where = Callable[[Difference], bool]


def _proves(cause: Cause, place: Difference, after: EchoReading) -> bool:
    if cause is Cause.TRUNCATION:
        return place.is_found_again_in(after)
    return place.is_gone_in(after)


def _can_be_alone(cause: Cause, place: Difference) -> bool:
    return cause not in DECODING or not place.is_lost_in_encoding


@dataclass(frozen=True, kw_only=True)
class CopySuspect(ChangedTokenizer[EchoSetting, EchoReading, Difference]):
    """Something in the tokenizer."""

    cause: Cause
    where: Where

    def applies(self, place: Difference) -> bool:
        """Tell whether the shape of the difference points here."""
        return self.where(place)

    def suffices(self, place: Difference) -> bool:
        """Tell whether the ids leave room for a cause in decoding."""
        return _can_be_alone(self.cause, place)

    def undoes(self, place: Difference, after: EchoReading) -> bool:
        """Tell whether the place is as it was in the prompt."""
        return _proves(self.cause, place, after)


@dataclass(frozen=True, kw_only=True)
class UnknownSuspect(CopySuspect):
    """A hole in the vocabulary: the texts under the unknown ids of a reading are made known."""

    comes_last = True

    def changed(self, setting: EchoSetting, seen: EchoReading, place: Difference) -> EchoSetting | None:
        """Return the setting with a copy of the tokenizer that knows every text of the prompt."""
        texts = seen.unknown_texts(place.place)
        if not texts and seen.is_dropped(place.place) and setting.tokenizer.change(KEEP_SPLIT_OFF) is None:
            texts = (place.lost,)
        knowing = setting.tokenizer.change(self.change, texts) if texts else None
        return None if knowing is None else replace(setting, tokenizer=knowing)


@dataclass(frozen=True, kw_only=True)
class RespeltSuspect(CopySuspect):
    """An added token whose own letters the decoder reads as bytes or marks: without it, the model spells the text."""

    def changed(self, setting: EchoSetting, seen: EchoReading, place: Difference) -> EchoSetting | None:
        """Return the setting without the added token that stands at the place, if decoding respells it."""
        index = seen.token_at(place.place.prompt_start) if place.lost else -1
        if index < 0 or seen.spans is None:
            return None
        token_id = seen.token_ids[index]
        content = setting.tokenizer.piece(token_id)
        if setting.prompt[slice(*seen.spans[index])].strip() != content.strip():
            return None
        if setting.tokenizer.decode([token_id], skip_special_tokens=False) == content:
            return None
        other = setting.tokenizer.change(self.change, content)
        return None if other is None else replace(setting, tokenizer=other)


@dataclass(frozen=True, kw_only=True)
class CallSuspect(EchoExperiment):
    """Something in the way the program calls the tokenizer, or in what it gives it."""

    cause: Cause
    words: str
    change: Callable[[EchoSetting], EchoSetting]
    where: Where

    def applies(self, place: Difference) -> bool:
        """Tell whether the shape of the difference points here."""
        return self.where(place)

    def in_words(self) -> str:
        """Return what is done otherwise."""
        return self.words

    def changed(self, setting: EchoSetting, seen: EchoReading, place: Difference) -> EchoSetting | None:
        """Return the setting with another call, or ``None`` where the program calls it so already."""
        changed = self.change(setting) if self.where(place) else setting
        return None if changed == setting else changed

    def suffices(self, place: Difference) -> bool:
        """Tell whether the ids leave room for a cause in decoding."""
        return _can_be_alone(self.cause, place)

    def undoes(self, place: Difference, after: EchoReading) -> bool:
        """Tell whether the place is as it was in the prompt."""
        return _proves(self.cause, place, after)


KEEP_SPLIT_OFF = "keep_split_off"
SAME_IDS = "write in the prompt what the echo says; the ids stay the same"


@dataclass(frozen=True, kw_only=True)
class SameIds(EchoExperiment):
    """Encoding forgot the difference: written as the echo says it, the prompt has the very same ids."""

    cause: Cause
    where: Where

    def applies(self, place: Difference) -> bool:
        """Tell whether the shape of the difference points here."""
        return self.where(place)

    def in_words(self) -> str:
        """Return what is written otherwise."""
        return SAME_IDS

    def changed(self, setting: EchoSetting, seen: EchoReading, place: Difference) -> EchoSetting | None:
        """Return the setting itself if the other prompt has its ids: the echo of the same ids is known."""
        if setting != place.reading.setting or not self.where(place) or not place.is_lost_in_encoding:
            return None
        plain = setting.tokenizer.change("keep_text")
        without = None if plain is None else replace(setting, tokenizer=plain)
        if without and without.token_ids(setting.prompt) != without.token_ids(place.as_echoed.prompt):
            return None  # it is the normalizer that forgets
        return setting

    def undoes(self, place: Difference, after: EchoReading) -> bool:
        """Tell whether the ids are the same."""
        return place.is_lost_in_encoding


# -- where: the shapes of a difference ---------------------------------------------------------------------------


def _is_cut_off(place: Difference) -> bool:
    return bool(place.lost) and not place.gained and place.is_at_end


def _is_skipped(place: Difference) -> bool:
    setting = place.reading.setting
    return setting.skip and not place.gained and place.lost in setting.tokenizer.special_strs


def _is_behind(place: Difference) -> bool:
    return not place.lost and place.place.prompt_end == len(place.reading.setting.prompt)


def _is_added(place: Difference) -> bool:
    setting = place.reading.setting
    return setting.add and not place.lost and place.gained.strip() in {"", *setting.tokenizer.special_strs}


def _is_unknown(place: Difference) -> bool:
    return bool(place.reading.unknown_texts(place.place))


def _is_other_text(place: Difference) -> bool:
    return bool(place.lost) and place.lost not in place.reading.setting.tokenizer.special_strs


def _shows_bytes(place: Difference) -> bool:
    return REPLACEMENT_CHARACTER in place.gained or "<0x" in place.gained


def _has_mark(place: Difference) -> bool:
    return SPACE_MARK in place.lost


def _gains_blank(place: Difference) -> bool:
    return place.is_blank and len(place.gained) >= len(place.lost)


def _may_be_split_off(place: Difference) -> bool:
    return place.is_blank and place.reading.setting.tokenizer.change(KEEP_SPLIT_OFF) is not None


def _has_no_decoder(place: Difference) -> bool:
    return place.reading.setting.tokenizer.change("join_without_spaces") is not None


def _is_blank(place: Difference) -> bool:
    return place.is_blank


def _loses_blank(place: Difference) -> bool:
    return place.is_blank and bool(place.lost)


# -- what is changed in the call and in the prompt -----------------------------------------------------------------


def _add_no_specials(setting: EchoSetting) -> EchoSetting:
    return replace(setting, add=False)


def _keep_all(setting: EchoSetting) -> EchoSetting:
    return replace(setting, keep=(None, None))


def _write_no_mark(setting: EchoSetting) -> EchoSetting:
    return replace(setting, prompt=setting.prompt.replace(SPACE_MARK, "x"))


WHOLE_IDS = "decode all ids of the prompt"

NOT_NORMALIZED = CopySuspect(
    cause=Cause.ADDED_TOKEN_NORMALIZED, change="added_token_flags", argument={"normalized": False}, where=_gains_blank
)

SUSPECTS: tuple[EchoExperiment, ...] = (
    CallSuspect(cause=Cause.TRUNCATION, words=WHOLE_IDS, change=_keep_all, where=_is_cut_off),
    CopySuspect(cause=Cause.TRUNCATION, change="no_truncation", where=_is_cut_off),
    CallSuspect(
        cause=Cause.SPECIAL_REMOVED,
        words="decode with skip_special_tokens=False",
        change=EchoSetting.without_skipping,
        where=_is_skipped,
    ),
    CopySuspect(cause=Cause.PADDING, change="no_padding", where=_is_behind),
    SameIds(cause=Cause.SPACE_MARK, where=_has_mark),
    CallSuspect(
        cause=Cause.SPACE_MARK,
        words="write a letter where the prompt has U+2581",
        change=_write_no_mark,
        where=_has_mark,
    ),
    UnknownSuspect(cause=Cause.UNKNOWN_TOKEN, change="know_the_unknown", where=_is_unknown),
    RespeltSuspect(cause=Cause.ADDED_TOKEN_DECODED, change="without_added_token", where=_is_other_text),
    CopySuspect(cause=Cause.NORMALIZER, change="keep_text", where=_is_other_text),
    CopySuspect(cause=Cause.NORMALIZER, change="keep_extra_whitespace", where=_loses_blank),
    CopySuspect(cause=Cause.BYTE_FALLBACK, change="add_byte_fallback_decoder", where=_shows_bytes),
    CallSuspect(cause=Cause.BYTE_FALLBACK, words=WHOLE_IDS, change=_keep_all, where=_shows_bytes),
    CopySuspect(cause=Cause.DUMMY_PREFIX, change="prefix_first_only", where=_gains_blank),
    CopySuspect(cause=Cause.DUMMY_PREFIX, change="prefix_never", where=_gains_blank),
    NOT_NORMALIZED,
    CopySuspect(cause=Cause.SPACES_BETWEEN_SPECIALS, change="no_spaces_between_specials", where=_gains_blank),
    CopySuspect(cause=Cause.DECODER_JOIN, change="join_without_spaces", where=_gains_blank),
    CopySuspect(cause=Cause.DECODER_JOIN, change="decoder_of_its_model", where=_has_no_decoder),
    CopySuspect(
        cause=Cause.ADDED_TOKEN_STRIP,
        change="added_token_flags",
        argument={"lstrip": False, "rstrip": False},
        where=_loses_blank,
    ),
    CopySuspect(cause=Cause.LEADING_SPACE, change="prefix_always_added", where=_loses_blank),
    CopySuspect(cause=Cause.CLEAN_UP, change="clean_up_off", where=_loses_blank),
    CopySuspect(cause=Cause.CLEAN_UP, change="wordpiece_cleanup_off", where=_loses_blank),
    CopySuspect(cause=Cause.DECODER_STRIP, change="decoder_keeps_ends", where=_loses_blank),
    CallSuspect(
        cause=Cause.BOS_EOS_SHOWN,
        words="encode with add_special_tokens=False",
        change=_add_no_specials,
        where=_is_added,
    ),
    CopySuspect(cause=Cause.PRE_TOKENIZER, change=KEEP_SPLIT_OFF, where=_is_other_text),
    SameIds(cause=Cause.PRE_TOKENIZER, where=_may_be_split_off),
)
"""Every experiment, in the order in which those that apply are tried."""

LAST_RESORTS: tuple[EchoExperiment, ...] = (SameIds(cause=Cause.PRE_TOKENIZER, where=_is_blank),)
"""Blanks that encoding forgets, in a way that no copy can be rid of."""
