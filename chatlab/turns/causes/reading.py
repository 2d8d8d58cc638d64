"""How one border was read: its texts in ids, and where what was said differs from what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from chatlab.echo.replies import Continuations
from chatlab.turns.border import Border, end_len
from chatlab.turns.causes.align import Gap, Side, iter_gaps, joined, side_of, streamed_side
from chatlab.turns.causes.case import TurnSetting, bos_id
from chatlab.turns.causes.written import WrittenTurn


@dataclass(frozen=True, kw_only=True, eq=False)
class TurnReading(WrittenTurn):
    """One border read under one setting."""

    @cached_property
    def reply_ids(self) -> tuple[int, ...]:
        """What the model said."""
        ids = self.case.call.reply_ids
        if not self.setting.canonical:
            return ids
        return self.canonical_ids + (ids[-1:] if ids and ids[-1] in self.case.end_ids else ())

    @cached_property
    def canonical_ids(self) -> tuple[int, ...]:
        """The ids that the text of the reply has, without its end token."""
        return tuple(self._continuations.encode([self.case.call.reply])[0])

    @property
    def _continuations(self) -> Continuations:
        tokenizer = self.setting.tokenizer
        return self.once(("continuations", id(tokenizer)), lambda: Continuations(tokenizer))

    @cached_property
    def _said(self) -> Side:
        """What the model saw and said, its end token included."""
        s, case = self.setting, self.case
        is_own = s.tokenizer is case.tokenizer and not s.without and not (s.own and case.given)
        if is_own:
            ids: Sequence[int] = case.call.prompt_ids
        else:
            ids = s.tokenizer.encode(self.prompt, add_special_tokens=case.add)
        prompt = side_of(s.tokenizer, self.prompt, self._no_bos(ids), add_special_tokens=case.add)
        return joined(prompt, streamed_side(case.tokenizer, case.call.prompt_ids, self.reply_ids))

    def _no_bos(self, ids: Sequence[int]) -> Sequence[int]:
        """The ids without those BOS ones that they begin with, where these are to be left out."""
        if not self.setting.without_bos:
            return ids
        bos = bos_id(self.case.tokenizer)
        start = next((at for at, token_id in enumerate(ids) if token_id != bos), len(ids))
        return ids[start:]

    @cached_property
    def _next(self) -> Side:
        s, case = self.setting, self.case
        untouched = (
            not (self.is_rewritten or s.restored or s.apart or (s.own and case.given)) and s.tokenizer is case.tokenizer
        )
        if untouched:
            return side_of(s.tokenizer, self.text, self._no_bos(case.after.prompt_ids), add_special_tokens=case.add)
        head, reply, tail = self.pieces
        if not s.apart or self.region is None:
            ids = s.tokenizer.encode(self.text, add_special_tokens=case.add)
            return side_of(s.tokenizer, self.text, self._no_bos(ids), add_special_tokens=case.add)
        ids = s.tokenizer.encode(head, add_special_tokens=case.add)
        side = side_of(s.tokenizer, head, ids, add_special_tokens=case.add)
        for part in (reply, tail):
            (continued,) = self._continuations.encode([part])
            side = joined(side, _spread(streamed_side(s.tokenizer, side.token_ids, continued), part))
        return side

    @cached_property
    def _cut(self) -> tuple[int, int | None]:
        """Whether the template closes the reply as the model did, and how many ids of the next prompt stand for it."""
        case, after = self.case, self._next
        special = case.tokenizer.special_ids
        if self.region is None:
            said = self._said.token_ids
            kept = Border(prompt_ids=(), reply_ids=tuple(said[:-1]), next_ids=tuple(after.token_ids)).kept_len
            closes = end_len(self.reply_ids, after.token_ids[kept:], case.end_ids, special)
            return closes, None
        head, reply, _ = self.pieces
        end = after.index_at(len(head) + len(reply))
        closes = end_len(self.reply_ids, after.token_ids[end:], case.end_ids, special)
        if closes:
            end = next(at for at in range(end, len(after.token_ids)) if after.token_ids[at] in case.end_ids) + 1
        return closes, end

    @cached_property
    def next_reply(self) -> tuple[int, int] | None:
        """Which ids of the next prompt stand for the reply, its end token aside; None where nobody knows."""
        if self.region is None:
            return None
        head, reply, _ = self.pieces
        start = self._next.index_at(len(head))
        return start, max(start, self._next.index_at(len(head) + len(reply)))

    @cached_property
    def border(self) -> Border:
        """The border in ids."""
        prompt_len = len(self._said.token_ids) - len(self.reply_ids)
        return Border(
            prompt_ids=tuple(self._said.token_ids[:prompt_len]),
            reply_ids=tuple(self.reply_ids),
            next_ids=tuple(self._next.token_ids),
            end_len=self._cut[0],
        )

    @cached_property
    def gaps(self) -> list[Gap]:
        """Where what was seen and said differs from how the next prompt begins."""
        return list(iter_gaps(self._said, self._next, self._cut[1], self._stations))

    @cached_property
    def _stations(self) -> list[tuple[int, int]]:
        """Places in the text that are the same on both sides: where the reply is opened, and where it begins."""
        region = self.region
        if region is None:
            return []
        head = len(self.pieces[0])
        opened = region.opened_len if "opening" not in self.setting.restored else len(region.opening)
        return [(len(self.prompt) - len(region.opening), head - opened), (len(self.prompt), head)]

    @cached_property
    def bridge_start(self) -> int:
        """Which id of the next prompt is the first that is new."""
        shift = sum((g.next[1] - g.next[0]) - (g.said[1] - g.said[0]) for g in self.gaps)
        return len(self._said.token_ids) + shift

    @property
    def said_text(self) -> str:
        """What the model saw and said."""
        return self._said.text

    @property
    def next_text(self) -> str:
        """The next prompt, as its ids spell it."""
        return self._next.text

    @cached_property
    def head_len(self) -> int:
        """Characters of the prompt before it opens the reply."""
        return len(self.prompt) - (len(self.region.opening) if self.region else 0)

    @cached_property
    def is_text_kept(self) -> bool:
        """Whether the next prompt's text begins with the prompt and the reply."""
        return self.text.startswith(self.prompt + self.case.call.reply)


def _spread(side: Side, text: str) -> Side:
    """Ids with the text that they were made of, where their own text is another."""
    return (
        side
        if side.text == text
        else Side(token_ids=side.token_ids, text=text, spans=[(0, len(text))] * len(side.spans))
    )


def read_turn(setting: TurnSetting) -> TurnReading:
    """Write, encode and compare."""
    reading = TurnReading(setting=setting)
    _ = reading.gaps  # what fails, fails here, where the laboratory looks for it
    return reading


def shows_as(setting: TurnSetting, reading: TurnReading) -> bool:
    """Tell whether a border differs under a setting as another reading does: the null control."""
    return [gap.said_text for gap in read_turn(setting).gaps] == [gap.said_text for gap in reading.gaps]
