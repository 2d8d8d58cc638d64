"""The prompt against its echo, and what each way of cutting makes of a reply."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from chatlab import render
from chatlab.echo.cut import STRATEGIES, ChosenStrategies, CutCase, CutStrategy, Outcome, chosen_strategies, make_case
from chatlab.echo.cutting.outcome import NOT_APPLICABLE
from chatlab.echo.trace import EDIT_CAP, EchoTrace, trace_echo
from chatlab.errors import PromptError
from chatlab.prompts.base import AbstractChatPrompt, RoleType
from chatlab.prompts.messages import prompt_of_messages
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt
from chatlab.results import Result
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.load import as_tokenizer
from chatlab.widgets.arguments import check, token_ids
from chatlab.widgets.engine_chat import EngineChat

if TYPE_CHECKING:
    import pandas as pd

    from chatlab.plots import Drawing

CONTEXT_LEN = 400
"""Characters shown on each side of a long stretch that both texts share."""
REPLY_CONTEXT_LEN = 60


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What one strategy makes of the reply."""

    strategy: CutStrategy
    reply: str
    """The true reply, stripped where the strategy strips."""
    result: str
    outcome: Outcome

    def parts(self) -> list[render.Part]:
        """Return the true reply against the result: what the cut ate is deleted, what leaked in is inserted.

        Long runs are shortened. A cut that is not applicable has no result.
        """
        if self.outcome == NOT_APPLICABLE:
            return []
        return render.short_parts(difference(self.reply, self.result), REPLY_CONTEXT_LEN, all_kinds=True)


class EchoView(Result):
    """An echo trace to look at: the diff, the table of edits, and the cuts of a reply.

    >>> from tokenizers import Tokenizer, decoders, models, normalizers
    >>> lower = Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    >>> lower.normalizer, lower.decoder = normalizers.Lowercase(), decoders.Fuse()
    >>> view = EchoView.of_reply(lower, "aB", "ba", strategies=["prompt_chars", "remove_prefix", "last_marker"])
    >>> [(cut.strategy.name, str(cut.outcome)) for cut in view.cuts]
    [('prompt_chars', 'exact'), ('remove_prefix', 'leaks 2'), ('last_marker', 'not applicable')]

    Args:
        trace: from ``trace_echo``.
        case: one generation after that prompt, from ``make_case``; :meth:`of_reply` makes both.
        strategies: how the reply is cut, as for :func:`chatlab.measure_drift`.

    Raises:
        CutError: a strategy is unknown, or one of your own fails or gives no text.
        ViewError: ``trace`` or ``case`` is none.
    """

    title = "Prompt and echo"

    def __init__(
        self, trace: EchoTrace, case: CutCase | None = None, *, strategies: ChosenStrategies = tuple(STRATEGIES)
    ) -> None:
        way = "as in EchoView(trace_echo(tokenizer, prompt)) or EchoView.of_reply(tokenizer, prompt, reply)"
        check("trace", trace, EchoTrace, f"an EchoTrace, {way}")
        check("case", case, CutCase | None, "what make_case gave")
        self.trace = trace
        self.cuts: tuple[Cut, ...] = () if case is None else tuple(_cuts(case, chosen_strategies(strategies)))
        """What each strategy makes of the reply, wrong ones first; empty without a reply."""

    @classmethod
    def of_reply(
        cls,
        tokenizer: Any,
        prompt: str | AbstractChatPrompt,
        reply: str | Sequence[int],
        *,
        strategies: ChosenStrategies = tuple(STRATEGIES),
        **options: Any,
    ) -> Self:
        """Trace a prompt and cut a reply to it.

        Args:
            tokenizer: whatever ``trace_echo`` takes.
            prompt: a text, or the history in a prompt class, whose own rule for the length of the echo then takes
                part. A history that ends in an answer stands for the prompt that was answered.
            reply: the output ids; or a text, which is encoded by itself.
            strategies: how the reply is cut, as for :func:`chatlab.measure_drift`.
            options: of ``trace_echo``.

        Raises:
            CutError: a strategy is unknown, or one of your own fails or gives no text.
            EncodeError: the prompt is not text a tokenizer can take.
            PromptError: the history has no prompt class, and the tokenizer no chat template.
            TokenIdError: an id of ``reply`` is outside the vocabulary.
            TokenizerLoadError: ``tokenizer`` is none.
            ViewError: ``reply`` is neither text nor a list of token ids.
        """
        reader = as_tokenizer(tokenizer)
        need = "a text or a flat list of token ids"
        output_ids = reader.encode(reply) if isinstance(reply, str) else token_ids("reply", reply, need)
        chat = _asked(prompt, reader) if isinstance(prompt, AbstractChatPrompt) else None
        trace = trace_echo(reader, chat or prompt, **options)
        case = make_case(reader, trace.token_ids, output_ids, prompt_text=trace.prompt, prompt=chat)
        return cls(trace, case, strategies=strategies)

    def figure(self) -> Drawing:
        """Draw the drift along the prompt, edit by edit."""
        return self.trace.figure()

    def to_frame(self) -> pd.DataFrame:
        """Return one row an edit."""
        return self.trace.to_frame()

    def cuts_frame(self) -> pd.DataFrame:
        """Return one row a strategy: ``strategy``, ``effect``, ``effect_len``, ``first_wrong_offset``, ``result``."""
        import pandas as pd

        rows = [(cut.strategy.name, *cut.outcome, cut.result) for cut in self.cuts]
        return pd.DataFrame(rows, columns=["strategy", *Outcome._fields, "result"])

    def __str__(self) -> str:
        lines = [f"{cut.strategy.name}: {str(cut.outcome)}: {render.diff_text(cut.parts())}" for cut in self.cuts]
        return "\n".join([str(self.trace), *lines])

    def body(self) -> str:
        """Return the diff, the edits and the cuts as escaped HTML."""
        trace = self.trace
        body = trace.diff_body(CONTEXT_LEN)
        if trace.edits:
            columns = ["at", "prompt", "echo", "token", "cause", "proof", "cure"]
            body += render.table_html(columns, self._edit_rows(), "Each edit, the token that did it, why, what to do")
        if self.cuts:
            rows = [
                (
                    cut.strategy.name,
                    str(cut.outcome),
                    cut.parts(),
                    cut.strategy.description,
                )
                for cut in self.cuts
            ]
            caption = "The reply after each way of cutting the echo: what is struck out was eaten, what is underlined leaked in"
            body += render.table_html(["cut", "effect", "reply", "how it cuts"], rows, caption)
        return body

    def _edit_rows(self) -> Iterator[tuple[object, ...]]:
        for edit in self.trace.edits[:EDIT_CAP]:
            yield (
                edit.prompt_span[0],
                # A control token that was kept is in both; only in the echo it was not planned.
                [render.Part("same" if edit.kind == "keep" else "del", edit.prompt_text)] if edit.prompt_text else "",
                [render.Part("ins", edit.echo_text)] if edit.echo_text else "",
                f"{edit.token_index}: {render.visible(edit.piece)}" if edit.token_index >= 0 else "",
                " with ".join(map(str, (edit.cause, *edit.also))),
                edit.evidence.changed if edit.evidence else "none found",
                edit.cure,
            )


def difference(before: str, after: str) -> Iterator[render.Part]:
    """Yield what two texts share at both ends, and what stands between.

    >>> [(part.kind, part.text) for part in difference("Hello", "xello")]
    [('del', 'H'), ('ins', 'x'), ('same', 'ello')]
    """
    start = next(
        (n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after))
    )
    rest = min(len(before), len(after)) - start
    end = next((n for n in range(rest) if before[-1 - n] != after[-1 - n]), rest)
    pieces: tuple[tuple[render.Kind, str], ...] = (
        ("same", before[:start]),
        ("del", before[start : len(before) - end]),
        ("ins", after[start : len(after) - end]),
        ("same", before[len(before) - end :]),
    )
    yield from (render.Part(kind, text) for kind, text in pieces if text)


def _asked(prompt: AbstractChatPrompt, tokenizer: Tokenizer) -> AbstractChatPrompt:
    """Return the prompt whose last question waits for its reply, as a model is asked."""
    history = prompt.get_history()
    if history and history[-1].message is not None:
        prompt = prompt.copy()
        if history[-1].role_type is RoleType.RESPONDER:
            prompt.remove_last_message()
        prompt.add_responder_msg(None)
    return _in_template(prompt, tokenizer) if isinstance(prompt, EngineChat) else prompt


def _in_template(chat: EngineChat, tokenizer: Tokenizer) -> AbstractChatPrompt:
    if not getattr(tokenizer.wrapped, "chat_template", None):
        raise PromptError(
            f"this chat is in its engine's own format, and {tokenizer.name} has no chat template: give a prompt class, "
            "or the tokenizer of the engine's model"
        )
    return prompt_of_messages(chat.messages(), lambda: ChatTemplatePrompt(tokenizer.wrapped))


def _cuts(case: CutCase, strategies: Iterable[CutStrategy]) -> Iterator[Cut]:
    for strategy in strategies:
        reply, outcome = case.exact_text, strategy.outcome(case, case.exact_text)
        result = "" if outcome == NOT_APPLICABLE else strategy.result(case)
        yield Cut(strategy=strategy, reply=reply.strip() if strategy.strips else reply, result=result, outcome=outcome)
