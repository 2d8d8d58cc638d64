"""How much a change hurts, and the exit code that tells a program so."""

from __future__ import annotations

from enum import IntEnum


class Severity(IntEnum):
    """Verdicts in order of harm."""

    NONE = 0
    """Nothing differs."""
    INFO = 1
    """Bytes differ, the effective state does not: indentation, key order, merges as pairs, a moved template."""
    MINOR = 2
    """Limits, padding side, names of unused placeholders, a template whose meaning is the same."""
    MAJOR_LATENT = 3
    """A rule differs that no probe reaches, or that this loader does not read but others do."""
    MAJOR = 4
    """Ids of exotic text, decoded text, or renders with tools or a system message differ."""
    BREAKING = 5
    """Chat prompts, control tokens, stop ids or the BOS differ, or one side does not load."""

    @property
    def label(self) -> str:
        """The word shown to people.

        >>> Severity.MAJOR_LATENT.label
        'MAJOR-latent'
        """
        return "MAJOR-latent" if self is Severity.MAJOR_LATENT else self.name

    @property
    def exit_code(self) -> int:
        """0 up to MINOR, 1 BREAKING, 2 MAJOR or MAJOR-latent; 3 is left for "could not compare"."""
        if self is Severity.BREAKING:
            return 1
        return 2 if self >= Severity.MAJOR_LATENT else 0

    @classmethod
    def from_label(cls, label: str) -> Severity:
        """Return the severity that is shown as ``label``.

        Raises:
            ValueError: none is.
        """
        labels = {severity.label: severity for severity in cls}
        if label not in labels:
            raise ValueError(f"{label!r} is no severity: {', '.join(labels)}")
        return labels[label]


COULD_NOT_COMPARE = 3
"""Exit code when there is no verdict: a source that cannot be resolved, a lock that cannot be read."""
