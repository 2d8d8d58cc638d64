"""How badly each kind of change hurts: one rule a kind, a function of what differs in effect; ``None``: no effect."""

from __future__ import annotations

from collections.abc import Callable

from chatlab.revisions.effects import Effects, changed_tokens
from chatlab.revisions.kinds import ChangeKind
from chatlab.severity import Severity
from chatlab.snapshots.recorder import RESERVED

K = ChangeKind


def reach(e: Effects) -> Severity:
    """Return how far a rule that changed was felt by the probes."""
    if e.core_ids:
        return Severity.BREAKING
    return Severity.MAJOR if e.any_ids or e.any_text else Severity.MAJOR_LATENT


def component(e: Effects, *names: str) -> bool:
    """Whether one of these components or settings changed in effect."""
    return any(n in e.components for n in names) or any(n == name for name, _, _ in e.settings for n in names)


def vocabulary(e: Effects) -> Severity | None:
    """New or moved pieces change the ids of every text that uses them, so no probe is needed; unused names do not."""
    if e.vocabulary is None:
        return None
    names = [entry.rsplit(" ", 1)[0] for entry in (*e.vocabulary.added, *e.vocabulary.removed)]
    only_names = e.vocabulary.added_len == e.vocabulary.removed_len and not e.vocabulary.moved_len
    if only_names and names and all(RESERVED.search(name) for name in names) and not e.any_ids:
        return Severity.MINOR
    return max(reach(e), Severity.MAJOR)


def model(e: Effects) -> Severity | None:
    """Merges, scores or a switch of the model."""
    return reach(e) if e.merges or e.scores_differ or component(e, "model", "trainer") else None


def normalizer(e: Effects) -> Severity | None:
    """Text is rewritten before it is cut."""
    return reach(e) if component(e, "normalizer") else None


def pre_tokenizer(e: Effects) -> Severity | None:
    """Text is cut elsewhere before the model sees it."""
    return reach(e) if component(e, "pre_tokenizer", "add_prefix_space", "legacy") else None


def added_tokens(e: Effects) -> Severity | None:
    """Flags, ids and contents of added tokens; a rule, so never below latent unless only placeholders were renamed."""
    tokens, placeholders = changed_tokens(e.flags)
    if not tokens and not component(e, "split_special_tokens"):
        return None
    only_names = placeholders and all(
        row.flag == "id" or None in (row.before, row.after) for row in e.flags if row.changed
    )
    if only_names and not e.any_ids:
        return Severity.MINOR
    appeared = any(row.flag == "id" and row.changed and not RESERVED.search(row.token) for row in e.flags)
    return Severity.BREAKING if appeared else reach(e)


def post_processor(e: Effects) -> Severity | None:
    """What is written around a text: BOS, EOS, type ids."""
    return reach(e) if component(e, "post_processor", "add_bos_token", "add_eos_token") or e.bos_changed else None


def decoder(e: Effects) -> Severity | None:
    """Ids turn into other text."""
    if not component(e, "decoder", "clean_up_tokenization_spaces", "spaces_between_special_tokens"):
        return None
    return Severity.MAJOR if e.any_text or e.any_ids else Severity.MAJOR_LATENT


def chat_template(e: Effects) -> Severity | None:
    """Plain user and assistant turns decide; a template that renders all the same may still differ elsewhere."""
    if (e.exceeded[0] is None) != (e.exceeded[1] is None):
        return Severity.BREAKING
    if not e.template_differs:
        return None
    roles = {row.roles for row in e.renders if not row.same}
    if "plain" in roles:
        return Severity.BREAKING
    return Severity.MAJOR if roles else Severity.MAJOR_LATENT


def specials(e: Effects) -> Severity | None:
    """BOS, EOS and what ends a reply."""
    if e.stop_ids[0] != e.stop_ids[1]:
        return Severity.BREAKING
    names = {name for name, _, _ in e.specials if name != "all"}
    if names & {"bos_token", "eos_token"}:
        return Severity.BREAKING
    return Severity.MAJOR if e.specials else None


def limits(e: Effects) -> Severity | None:
    """Lengths and sides; truncation baked into a file can cut a prompt, which the probes then show."""
    if component(e, "truncation", "padding") and e.any_ids:
        return reach(e)
    return (
        Severity.MINOR
        if component(e, "model_max_length", "padding_side", "truncation_side", "truncation", "padding")
        else None
    )


def tokenizer_class(e: Effects) -> Severity | None:
    """Another class does the work."""
    if e.class_names[0] == e.class_names[1]:
        return None
    if e.any_ids:
        return Severity.BREAKING
    return Severity.MAJOR if e.any_text else Severity.MINOR


def any_effect(e: Effects) -> Severity | None:
    """For causes that may change everything: the library, the set of files, code."""
    if not e.any:
        return None
    rules = (
        vocabulary,
        model,
        normalizer,
        pre_tokenizer,
        added_tokens,
        post_processor,
        decoder,
        chat_template,
        specials,
        limits,
        tokenizer_class,
    )
    found = [severity for rule in rules if (severity := rule(e)) is not None]
    if e.probes or any(not row.same for row in e.renders):
        found.append(reach(e) if e.probes else Severity.MAJOR)
    return max(found, default=Severity.INFO)


RULES: dict[ChangeKind, Callable[[Effects], Severity | None]] = {
    K.VOCABULARY: vocabulary,
    K.MODEL: model,
    K.NORMALIZER: normalizer,
    K.PRE_TOKENIZER: pre_tokenizer,
    K.ADDED_TOKENS: added_tokens,
    K.POST_PROCESSOR: post_processor,
    K.DECODER: decoder,
    K.CHAT_TEMPLATE: chat_template,
    K.SPECIALS: specials,
    K.LIMITS: limits,
    K.CLASS: tokenizer_class,
    K.LIBRARY: any_effect,
    K.LAYOUT: any_effect,
    K.REMOTE_CODE: any_effect,
}
