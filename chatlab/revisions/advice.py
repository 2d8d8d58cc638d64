"""What to do about a change: one line a kind, concrete where the snapshots allow it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatlab.revisions.delimiters import Delimiter
from chatlab.revisions.effects import Effects
from chatlab.revisions.findings import Finding
from chatlab.revisions.kinds import ChangeKind
from chatlab.severity import Severity

if TYPE_CHECKING:
    from chatlab.snapshots.snapshot import Snapshot

K = ChangeKind

BY_KIND = {
    K.VOCABULARY: "Weights and tokenizer must be of one commit: ids now mean other pieces; do not mix cached ids of the two.",
    K.MODEL: "Re-tokenize stored ids and check the model was trained with the new merges.",
    K.NORMALIZER: "Compare texts with combining marks, full-width letters and newlines before you switch.",
    K.PRE_TOKENIZER: "Compare digits, contractions and code before you switch: texts are cut elsewhere.",
    K.ADDED_TOKENS: "Cut echoes and replies by token ids, never by characters or by the text of a delimiter.",
    K.POST_PROCESSOR: "Count the BOS of an encoded prompt: encode a rendered template with add_special_tokens=False.",
    K.DECODER: "Compare decoded texts as text; cut the echo by token count.",
    K.CHAT_TEMPLATE: "Render your own dialogues with both templates and read the difference; keep a copy of the template you tested.",
    K.SPECIALS: "Set the stop ids yourself: read them from generation_config.json of the commit you pinned.",
    K.LIMITS: "Set model_max_length, padding_side and truncation yourself.",
    K.CLASS: "Name the tokenizer class you tested, and keep config.json beside the tokenizer.",
    K.LIBRARY: "Pin the library version together with the revision: the same files behave otherwise under another one.",
    K.LAYOUT: "Load the new layout under every library version you run, the oldest first.",
    K.REMOTE_CODE: "Read the changed code before you run it, and pin code_revision to a commit.",
}


def advice(found: list[Finding], delimiters: list[Delimiter], before: Snapshot, e: Effects) -> list[str]:
    """Return what to do, the most urgent first; nothing for changes that do not matter."""
    serious = [f for f in found if f.severity >= Severity.MAJOR_LATENT]
    if not serious:
        return []
    lines = []
    versions = before.versions
    if any(f.kind is K.LIBRARY for f in serious):
        lines.append(
            f"Stay on transformers=={versions['transformers']}, tokenizers=={versions['tokenizers']} until your prompts are tested."
        )
    elif before.revision:
        lines.append(f"Stay on revision={before.revision!r} until your prompts are tested.")
    else:
        lines.append("Keep a copy of the files you tested until your prompts are tested with the new ones.")
    if e.exceeded[1]:
        lines.append(f"Do not render the new chat template outside a process with limits: it {e.exceeded[1]}.")
    for delimiter in [d for d in delimiters if d.broken and d.written != d.token][:4]:
        lines.append(
            f"Parsers that look for {delimiter.echo_before!r} now find {delimiter.echo_after!r}: split on the id of {delimiter.token} instead."
        )
    lines += dict.fromkeys(BY_KIND[f.kind] for f in serious)
    if e.stop_ids[0] != e.stop_ids[1]:
        lines.append(f"Replies end at {list(e.stop_ids[1])} now, at {list(e.stop_ids[0])} before.")
    return lines
