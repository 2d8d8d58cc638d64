"""How badly each kind of change hurts: one rule a kind, a function of what differs in effect; ``None``: no effect.

A rule reads numbers, names and facts, never a text that was made for people.
"""

from __future__ import annotations

from collections.abc import Callable

from chatlab.revisions.effects import Effects
from chatlab.revisions.kinds import ChangeKind
from chatlab.severity import Severity

K = ChangeKind
Rule = Callable[[Effects], Severity | None]


def reach(e: Effects) -> Severity:
    """Return how far a rule that changed was felt by the probes."""
    if e.core_ids or e.lost:
        return Severity.BREAKING
    return Severity.MAJOR if e.any_ids or e.any_text else Severity.MAJOR_LATENT


def component(e: Effects, *names: str) -> bool:
    """Whether one of these components or settings changed in effect."""
    return any(name in e.components for name in names) or any(setting.name in names for setting in e.settings)


def vocabulary(e: Effects) -> Severity | None:
    """New or moved pieces change the ids of every text that uses them, so no probe is needed; unused names do not."""
    if e.vocabulary is None:
        return None
    unused = e.vocabulary.only_unused_names and not e.any_ids
    return Severity.MINOR if unused else max(reach(e), Severity.MAJOR)


def model(e: Effects) -> Severity | None:
    """Merges, scores or a switch of the model."""
    return reach(e) if e.merges or e.scores or component(e, "model", "trainer") else None


def normalizer(e: Effects) -> Severity | None:
    """Text is rewritten before it is cut."""
    return reach(e) if component(e, "normalizer") else None


def pre_tokenizer(e: Effects) -> Severity | None:
    """Text is cut elsewhere before the model sees it."""
    return reach(e) if component(e, "pre_tokenizer", "add_prefix_space", "legacy") else None


def added_tokens(e: Effects) -> Severity | None:
    """Flags, ids and contents of added tokens; a rule, so never below latent unless only placeholders were renamed."""
    if not e.retyped.isdisjoint(e.lost):
        return Severity.BREAKING
    if not e.changed_tokens and not component(e, "split_special_tokens"):
        return None
    only_ids = all(row.flag == "id" for row in e.flags if row.changed)
    if e.only_placeholders and only_ids and not e.any_ids:
        return Severity.MINOR
    return Severity.BREAKING if e.renumbered_tokens else reach(e)


def post_processor(e: Effects) -> Severity | None:
    """What is written around a text: BOS, EOS, type ids."""
    return reach(e) if component(e, "post_processor", "add_bos_token", "add_eos_token") or e.bos_changed else None


def decoder(e: Effects) -> Severity | None:
    """Ids turn into other text."""
    if not component(e, "decoder", "clean_up_tokenization_spaces", "spaces_between_special_tokens"):
        return None
    if e.lost:
        return Severity.BREAKING
    return Severity.MAJOR if e.any_text or e.any_ids else Severity.MAJOR_LATENT


def chat_template(e: Effects) -> Severity | None:
    """Plain user and assistant turns decide; a template that renders all the same may still differ elsewhere."""
    if (e.exceeded[0] is None) != (e.exceeded[1] is None):
        return Severity.BREAKING
    if not any(change.used for change in e.templates):
        return None
    roles = {row.roles for row in e.renders if not row.same}
    if "plain" in roles:
        return Severity.BREAKING
    return Severity.MAJOR if roles else Severity.MAJOR_LATENT


def specials(e: Effects) -> Severity | None:
    """BOS, EOS and what ends a reply."""
    if e.stop_ids[0] != e.stop_ids[1]:
        return Severity.BREAKING
    names = {change.name for change in e.specials if change.name != "all"}
    if names & {"bos_token", "eos_token"}:
        return Severity.BREAKING
    return Severity.MAJOR if e.specials else None


def limits(e: Effects) -> Severity | None:
    """Lengths and sides; truncation baked into a file can cut a prompt, which the probes then show."""
    if component(e, "truncation", "padding") and e.any_ids:
        return reach(e)
    sides = component(e, "model_max_length", "padding_side", "truncation_side", "truncation", "padding")
    return Severity.MINOR if sides else None


def tokenizer_class(e: Effects) -> Severity | None:
    """Another class does the work, and may do every part of it otherwise."""
    if e.class_names[0] == e.class_names[1]:
        return None
    if e.any_ids:
        return Severity.BREAKING
    return max(Severity.MAJOR if e.any_text else Severity.MINOR, *felt(e, K.CLASS))


def felt(e: Effects, *besides: ChangeKind) -> list[Severity]:
    """Return what every rule says, but for some, where it says anything."""
    found = (rule(e) for kind, rule in RULES.items() if kind not in besides)
    return [Severity.NONE, *(severity for severity in found if severity is not None)]


def any_effect(e: Effects) -> Severity | None:
    """For causes that may change everything: the library, the set of files, code."""
    if not e.any:
        return None
    found = [Severity.INFO, *felt(e)]
    if e.probes or e.any_render:
        found.append(reach(e) if e.probes else Severity.MAJOR)
    return max(found)


RULES: dict[ChangeKind, Rule] = {
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
}
"""The rule of each kind that acts through a part of its own; the other kinds act through any of them."""


def severity_of(kind: ChangeKind, e: Effects) -> Severity | None:
    """Return how badly a change of this kind hurt; ``None`` where it had no effect."""
    return RULES.get(kind, any_effect)(e)
