"""What a diagnosis looks at: the files, the tokenizer they make, the prompts of its model, dialogues."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from chatlab.embedded import dialogues_path
from chatlab.errors import ChatlabError
from chatlab.prompts.dialogue import Dialogue, prompts_of, read_dialogues
from chatlab.prompts.filling import AnyPromptClass, PromptClass, prompt_class_of
from chatlab.prompts.templates.choice import PromptChoice, prompt_for
from chatlab.tokenizers.interface import Tokenizer
from chatlab.tokenizers.load import as_tokenizer, load_tokenizer
from chatlab.tokenizers.source import Source

DIALOGUE_LEN = 80
"""Dialogues that are looked at: enough for every kind of the embedded ones, few enough for a newcomer's patience."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One tokenizer with its prompts and the dialogues that are tried."""

    name: str
    reader: Tokenizer
    source: Source | None
    prompt_class: PromptClass | None
    """``None`` where no prompt format is known, and why not."""
    why: str
    dialogues: Sequence[Dialogue]

    @property
    def place(self) -> str:
        """What to write on a command line to name it."""
        return "FOLDER" if self.source is None else self.source.repo_id or str(self.source.place or self.source.folder)

    @property
    def load_line(self) -> str:
        """The line of Python that loads it as it was loaded here, pinned where it has commits."""
        source = self.source
        if source is None:
            return "tokenizer = ...  # yours"
        if source.repo_id is not None:
            return f"tokenizer = load_tokenizer({source.repo_id!r}, revision={source.revision!r})"
        return f"tokenizer = load_tokenizer({str(source.place or source.folder)!r})"


def case_of(tokenizer: Any, prompt_class: AnyPromptClass | None, dialogues: Any, **load: Any) -> Case:
    """Load what is to be looked at.

    Raises:
        TokenizerLoadError: the source does not load.
        DialogueError: the dialogues cannot be read.
        PromptError: the prompt class is none.
    """
    from os import PathLike

    is_place = isinstance(tokenizer, str | PathLike)
    reader = load_tokenizer(str(tokenizer), **load) if is_place else as_tokenizer(tokenizer)
    makes, why = _prompts(reader, prompt_class)
    return Case(
        name=reader.name,
        reader=reader,
        source=reader.source,
        prompt_class=makes,
        why=why,
        dialogues=list(_some(dialogues, makes)),
    )


def _prompts(reader: Tokenizer, given: AnyPromptClass | None) -> tuple[PromptClass | None, str]:
    if given is not None:
        return prompt_class_of(given), "it was given"
    try:
        choice: PromptChoice = prompt_for(reader)
    except ChatlabError as error:
        return None, str(error).partition(": choose")[0]
    return choice, choice.why


def _some(dialogues: Any, makes: Callable[[], Any] | None) -> list[Dialogue]:
    """Return the dialogues to try: the given ones, or a few embedded ones of every kind that the format can place."""
    if dialogues is not None:
        return list(read_dialogues(dialogues))
    every = list(read_dialogues(dialogues_path()))
    some = every[:: max(1, len(every) // DIALOGUE_LEN)]
    return some if makes is None else list(islice((one for one in some if _fits(one, makes)), DIALOGUE_LEN))


def _fits(dialogue: Dialogue, makes: Callable[[], Any]) -> bool:
    try:
        for _, prompt in prompts_of(dialogue, makes):
            prompt.create_prompt()
    except ChatlabError:
        return False
    return True


def no_format(case: Case) -> str:
    """Return why the questions about prompts cannot be asked, and the way out."""
    return f"{case.why}: give a prompt format (--prompt llama2, or prompt_class='llama2')"
