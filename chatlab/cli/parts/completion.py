"""What the shell offers when Tab is pressed: prompt formats, ways of cutting, locked aliases."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from chatlab.errors import ChatlabError


def prompt_formats(incomplete: str) -> list[str]:
    """Names of prompt formats, the short ones too."""
    from chatlab.prompts.formats.registry import ALIASES, FORMATS

    return [name for name in sorted({*FORMATS, *ALIASES}) if name.startswith(incomplete)]


def cut_strategies(incomplete: str) -> list[tuple[str, str]]:
    """Names of ways of cutting, each with what it does."""
    from chatlab.echo.cut import STRATEGIES

    return [(name, cut.description) for name, cut in STRATEGIES.items() if name.startswith(incomplete)]


def aliases(incomplete: str) -> list[str]:
    """Aliases in the lock file of this folder; none where it cannot be read, since nobody waits for an error here."""
    from chatlab.locks.lockfile import DEFAULT, read_lock

    with suppress(ChatlabError, OSError):
        return [alias for alias in sorted(read_lock(Path(DEFAULT))) if alias.startswith(incomplete)]
    return []
