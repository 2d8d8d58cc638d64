"""Which file has the last word: the same fact may stand in several, and not every loader reads the same one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chatlab.revisions.effects import config_tokens, json_tokens, stop_id_table, tokens_of
from chatlab.snapshots.recorder import FLAGS


def shadowing(record: Mapping[str, Any], loader: str) -> list[str]:
    """Return lines that say which file is hidden behind which; flags are judged by what the loader really made of them."""
    files, documents, view = record["files"], record["documents"], record["views"][loader]
    lines = []
    model = next((name for name in files if name.endswith(".model")), None)
    vocabulary = [name for name in (model, "vocab.json", "merges.txt", "vocab.txt") if name in files]
    if "tokenizer.json" in files and vocabulary and loader in ("auto", "raw"):
        lines.append(f"tokenizer.json shadows {', '.join(str(v) for v in vocabulary)}")
    lines += _flags(documents, view)
    config = documents.get("tokenizer_config.json")
    in_config = isinstance(config, dict) and config.get("chat_template") is not None
    if "chat_template.jinja" in documents and in_config:
        lines.append("chat_template.jinja shadows the template in tokenizer_config.json")
    stops = stop_id_table(record, view)
    if len({tuple(ids) for ids in stops.values()}) > 1:
        lines.append(
            "the files disagree on what ends a reply: " + "; ".join(f"{name} says {ids}" for name, ids in stops.items())
        )
    return lines


def _flags(documents: Mapping[str, Any], view: Mapping[str, Any]) -> list[str]:
    json_side, config_side, effective = (
        json_tokens(documents),
        config_tokens(documents),
        tokens_of(view.get("added_tokens")),
    )
    disagreements = [
        (token, flag)
        for token in json_side.keys() & config_side.keys() & effective.keys()
        for flag in FLAGS
        if json_side[token].get(flag) != config_side[token].get(flag)
    ]
    if not disagreements:
        return []
    config_wins = sum(effective[t].get(f) == config_side[t].get(f) for t, f in disagreements)
    if config_wins == len(disagreements):
        return [f"tokenizer_config.json shadows tokenizer.json in {config_wins} flags of added tokens"]
    if config_wins == 0:
        return [f"tokenizer.json shadows tokenizer_config.json in {len(disagreements)} flags of added tokens"]
    return [f"of {len(disagreements)} flags over which the files disagree, tokenizer_config.json decides {config_wins}"]
