"""Where a prompt class and a tokenizer's own chat template differ, in text and in token ids, with the usual flaws named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from chatlab.errors import (
    ChatlabError,
    ControlTokenError,
    DialogueError,
    EncodeError,
    RoleOrderError,
    TemplateError,
    TemplateLimitError,
    TemplateSyntaxError,
)
from chatlab.progress.meter import Meter, length_of
from chatlab.progress.progress import Reporter
from chatlab.prompts.control_tokens.readers import reader_of
from chatlab.prompts.control_tokens.reading import Reader
from chatlab.prompts.dialogue import Dialogue, prompts_of, read_dialogues
from chatlab.prompts.filling import AnyPromptClass, prompt_class_of
from chatlab.prompts.flaws import Flaw, FlawKind, Rendered, flaws_of, relative_flaws, rendered
from chatlab.prompts.prompt_difference import PromptDifference, TemplateComparison
from chatlab.prompts.templates.chat_template import ChatTemplatePrompt


def compare_with_template(
    prompt_class: AnyPromptClass,
    tokenizer: Any,
    dialogues: Iterable[Dialogue | Mapping[str, Any]] | Dialogue | str | Path,
    *,
    template: Any = None,
    clock: datetime | None = None,
    untrusted: bool = False,
    keep: int = 100,
    on_bad: Callable[[ChatlabError], None] | None = None,
    progress: bool | Reporter = False,
) -> TemplateComparison:
    """Compare every call's prompt of a class with what the tokenizer's own template makes of the same messages.

    Args:
        prompt_class: a prompt class, or anything that makes a prompt when called.
        tokenizer: what encodes both: an AutoTokenizer, a raw ``tokenizers.Tokenizer``, or one of ``load_tokenizer``.
        dialogues: what to compare on, as ``read_dialogues`` takes them; each call of the model is one prompt.
        template: what carries the chat template: an AutoTokenizer, or a folder; the tokenizer itself when None.
        clock: the time that the template is told.
        untrusted: render the template in a child process under ``TemplateLimits``.
        keep: how many differing prompts the result holds; all are counted.
        on_bad: called with the error of each dialogue that cannot be compared, which is then left out.
        progress: show how far it is, or what is told; see :class:`chatlab.progress.meter.Meter`.

    Raises:
        DialogueError: a dialogue cannot be compared, such as one that cannot be encoded, and there is no ``on_bad``.
        TemplateError: the tokenizer has no chat template.
        TemplateLimitError: an untrusted template oversteps a limit.
        TemplateSyntaxError: the template is not Jinja.
        PromptError: the class is no prompt class.
    """
    prompt_class = prompt_class_of(prompt_class)
    reader = reader_of(tokenizer)
    theirs = ChatTemplatePrompt(tokenizer if template is None else template, clock=clock, untrusted=untrusted)
    prompts, same_text, same_ids, kept = 0, 0, 0, list[PromptDifference]()
    flaws: Counter[tuple[str, str]] = Counter()
    read = read_dialogues(dialogues, on_bad is not None, on_bad)
    total = length_of(dialogues) if isinstance(dialogues, Sequence) and not isinstance(dialogues, str) else None
    with Meter(progress, "comparing", "dialogues", total) as meter:
        for dialogue in read:
            try:
                differences = list(_compare(prompt_class, theirs, reader, tokenizer, dialogue))
            except (ControlTokenError, DialogueError, EncodeError, RoleOrderError) as error:
                named = DialogueError.at(f"dialogue {dialogue.id!r}", error)
                if on_bad is None:
                    raise named from error
                on_bad(named)
                differences = []
            for difference in differences:
                prompts += 1
                same_text += difference.same_text
                same_ids += difference.same_ids
                flaws.update({(flaw.kind.value, flaw.side) for flaw in difference.flaws})
                if len(kept) < keep and not (difference.same_text and difference.same_ids and not difference.flaws):
                    kept.append(difference)
            meter.advance()
    return TemplateComparison(
        prompt_class=getattr(prompt_class, "__name__", type(prompt_class).__name__),
        tokenizer=_name_of(tokenizer),
        prompts=prompts,
        same_text=same_text,
        same_ids=same_ids,
        flaws=dict(sorted(flaws.items())),
        differences=tuple(kept),
    )


def _name_of(tokenizer: Any) -> str:
    """The hub id, or the last two parts of a folder: no machine's own paths in a report."""
    name = str(getattr(tokenizer, "name_or_path", "") or getattr(tokenizer, "name", type(tokenizer).__name__))
    return "/".join(Path(name).resolve().parts[-2:]) if Path(name).exists() else name


def _compare(
    prompt_class: AnyPromptClass,
    template: ChatTemplatePrompt,
    reader: Reader,
    tokenizer: Any,
    dialogue: Dialogue,
) -> Iterator[PromptDifference]:
    theirs = prompts_of(dialogue, template.copy)
    for (number, our_prompt), (_, their_prompt) in zip(prompts_of(dialogue, prompt_class), theirs, strict=True):
        flaws = []
        ours = rendered(our_prompt, reader, tokenizer)
        flaws += flaws_of("class", ours, dialogue)
        their: Rendered | None = None
        try:
            their = rendered(their_prompt, reader, tokenizer)
            flaws += flaws_of("template", their, dialogue) + relative_flaws(ours, their)
        except (TemplateLimitError, TemplateSyntaxError):
            raise  # the template's own fault, whatever the messages
        except TemplateError as error:
            flaws.append(Flaw(kind=FlawKind.REFUSED, side="template", detail=str(error)))
        yield PromptDifference(
            dialogue_id=dialogue.id,
            turn_number=number,
            class_text=ours.text,
            template_text=their.text if their else None,
            class_ids=ours.ids,
            template_ids=their.ids if their else [],
            flaws=tuple(flaws),
        )
