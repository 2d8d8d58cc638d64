"""Single changes of each of the fourteen kinds, applied to copies of our tokenizers; and changes of bytes alone.

Each injection is a function that edits a copied folder in place.  None of them knows how chatlab detects it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatlab.embedded import tokenizer_path
from chatlab.revisions.kinds import ChangeKind as K

BASES = (
    "llama2-style/legacy",
    "llama2-style/non-legacy",
    "phi3-style/before",
    "phi3-style/after",
    "byte-bpe",
    "unigram",
    "wordpiece",
)

Edit = Callable[[Any], Any]


@dataclass(frozen=True, kw_only=True)
class Injection:
    base: str
    kind: K | None
    """``None``: bytes only."""
    name: str
    apply: Callable[[Path], None]

    @property
    def label(self) -> str:
        return f"{self.base}-{self.kind or 'bytes'}-{self.name}"


def copy_of(base: str, folder: Path) -> Path:
    shutil.copytree(tokenizer_path(base), folder)
    for path in folder.iterdir():
        path.chmod(0o644)
    return folder


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def write(folder: Path, name: str, value: Any) -> None:
    (folder / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def edit(name: str, change: Callable[[Any], object]) -> Callable[[Path], None]:
    """Return an injection that changes one parsed JSON file in place."""

    def apply(folder: Path) -> None:
        value = read(folder, name) if (folder / name).is_file() else {}
        change(value)
        write(folder, name, value)

    return apply


def setting(name: str, *path: str | int, to: Any) -> Callable[[Path], None]:
    """Return an injection that sets one value; a function gets the old value."""

    def change(value: Any) -> None:
        for key in path[:-1]:
            value = value[key]
        old = value.get(path[-1]) if isinstance(value, dict) else value[path[-1]]
        value[path[-1]] = to(old) if callable(to) else to

    return edit(name, change)


JSON, CONFIG, MODEL_CONFIG, GENERATION = (
    "tokenizer.json",
    "tokenizer_config.json",
    "config.json",
    "generation_config.json",
)


def injections() -> Iterator[Injection]:
    for base in BASES:
        folder = tokenizer_path(base)
        tokenizer, config = read(folder, JSON), read(folder, CONFIG)
        for kind, make in MAKERS.items():
            for name, apply in make(base, tokenizer, config):
                yield Injection(base=base, kind=kind, name=name, apply=apply)


# -- one maker a kind ----------------------------------------------------------------------------------------


def vocabulary(base, tokenizer, config):
    vocab = tokenizer["model"]["vocab"]
    added = {t["content"] for t in tokenizer["added_tokens"]}
    if isinstance(vocab, list):
        numbers = [n for n, (piece, _) in enumerate(vocab) if piece not in added]
        for n in (30, 31, 60, 90, 120):

            def swap(value, a=numbers[n], b=numbers[n + 40]):
                entries = value["model"]["vocab"]
                entries[a], entries[b] = entries[b], entries[a]

            yield f"swap-{n}", edit(JSON, swap)
        return
    pieces = [p for p in sorted(vocab, key=vocab.__getitem__) if p not in added]
    for n in (30, 60, 300, 301, -1):

        def swap(value, a=pieces[n], b=pieces[n - 20]):
            entries = value["model"]["vocab"]
            entries[a], entries[b] = entries[b], entries[a]

        yield f"swap-{n}", edit(JSON, swap)


def model(base, tokenizer, config):
    m = tokenizer["model"]
    if m["type"] == "BPE":
        for n in (1, 5, 50):
            yield f"drop-{n}-merges", edit(JSON, lambda v, n=n: v["model"].update(merges=v["model"]["merges"][n:]))
        yield (
            "reverse-50-merges",
            edit(JSON, lambda v: v["model"].update(merges=v["model"]["merges"][:50][::-1] + v["model"]["merges"][50:])),
        )
        yield "swap-merges", edit(JSON, lambda v: v["model"]["merges"].insert(0, v["model"]["merges"].pop(40)))
        yield "ignore-merges", setting(JSON, "model", "ignore_merges", to=lambda old: not old)
        yield "byte-fallback", setting(JSON, "model", "byte_fallback", to=lambda old: not old)
        yield "fuse-unk", setting(JSON, "model", "fuse_unk", to=lambda old: not old)
    elif m["type"] == "Unigram":
        for n in (40, 60, 80, 200):
            yield f"score-{n}", setting(JSON, "model", "vocab", n, 1, to=lambda old: old - 3.0)
        yield "byte-fallback", setting(JSON, "model", "byte_fallback", to=lambda old: not old)
    else:
        for n in (5, 20, 99):
            yield f"max-chars-{n}", setting(JSON, "model", "max_input_chars_per_word", to=n)
        yield "prefix", setting(JSON, "model", "continuing_subword_prefix", to="@@")


def normalizer(base, tokenizer, config):
    steps = {
        "lowercase": {"type": "Lowercase"},
        "nfkc": {"type": "NFKC"},
        "nfd": {"type": "NFD"},
        "replace": {"type": "Replace", "pattern": {"String": "\t"}, "content": "    "},
        "quote": {"type": "Replace", "pattern": {"String": "’"}, "content": "'"},
        "strip": {"type": "Strip", "strip_left": True, "strip_right": True},
        "strip-accents": {"type": "StripAccents"},
    }
    old = tokenizer["normalizer"]
    for name, step in steps.items():
        if base == "wordpiece" and name in ("lowercase",):
            continue
        steps_now = [step] if old is None else [step, old]
        yield name, setting(JSON, "normalizer", to={"type": "Sequence", "normalizers": steps_now})
    if old is not None:
        yield "gone", setting(JSON, "normalizer", to=None)


def pre_tokenizer(base, tokenizer, config):
    old = tokenizer["pre_tokenizer"]
    steps = {
        "digits": {"type": "Digits", "individual_digits": True},
        "punctuation": {"type": "Punctuation", "behavior": "Isolated"},
        "newline": {"type": "Split", "pattern": {"String": "\n"}, "behavior": "Isolated", "invert": False},
        "regex": {"type": "Split", "pattern": {"Regex": "[A-Z]"}, "behavior": "Isolated", "invert": False},
        "contractions": {"type": "Split", "pattern": {"Regex": "'(?:s|t|re)"}, "behavior": "Isolated", "invert": False},
    }
    for name, step in steps.items():
        yield (
            name,
            setting(
                JSON, "pre_tokenizer", to={"type": "Sequence", "pretokenizers": [step] if old is None else [step, old]}
            ),
        )
    if old is not None and old["type"] == "Metaspace":
        scheme = {"always": "never", "first": "always", "never": "first"}[old["prepend_scheme"]]
        yield "scheme", setting(JSON, "pre_tokenizer", "prepend_scheme", to=scheme)
        yield "split", setting(JSON, "pre_tokenizer", "split", to=lambda old: not old)


def added_tokens(base, tokenizer, config):
    rows = tokenizer["added_tokens"] or [added(tokenizer, "<extra>")]
    decoder = config.get("added_tokens_decoder", {})

    def flags(token, flag, place):
        def both(folder):
            if place in ("json", "both"):
                edit(
                    JSON,
                    lambda v: next(t for t in v["added_tokens"] if t["id"] == token["id"]).update(
                        {flag: not token[flag]}
                    ),
                )(folder)
            if place in ("config", "both") and str(token["id"]) in decoder:
                old = decoder[str(token["id"])][flag]
                setting(CONFIG, "added_tokens_decoder", str(token["id"]), flag, to=not old)(folder)

        return both

    if not tokenizer["added_tokens"]:
        yield "first", edit(JSON, lambda v: v["added_tokens"].append(rows[0]))
        return
    for number, token in enumerate(rows[:7]):
        for flag in ("rstrip", "lstrip", "normalized", "single_word", "special"):
            if (number + len(flag)) % 3 and number > 1:
                continue
            yield f"{flag}-{token['id']}", flags(token, flag, "both")
    yield "json-only", flags(rows[-1], "rstrip", "json")
    if decoder:
        yield "config-only", flags(rows[-1], "rstrip", "config")
    new = added(tokenizer, "<|new|>")

    def appears(folder):
        edit(JSON, lambda v: v["added_tokens"].append(new))(folder)
        if decoder:
            edit(
                CONFIG,
                lambda v: v["added_tokens_decoder"].update(
                    {str(new["id"]): {k: x for k, x in new.items() if k != "id"}}
                ),
            )(folder)

    yield "appears", appears
    contradicting = {rows[0]["content"]: new["id"]}
    yield "contradicted", lambda folder: write(folder, "added_tokens.json", contradicting)
    yield "in-one-file-alone", lambda folder: write(folder, "added_tokens.json", {"<|nobody|>": new["id"]})


def added(tokenizer, content):
    vocab = tokenizer["model"]["vocab"]
    last = len(vocab) - 1 if isinstance(vocab, list) else max(vocab.values())
    number = max([last, *(t["id"] for t in tokenizer["added_tokens"])]) + 1
    flags = dict.fromkeys(("lstrip", "rstrip", "normalized", "single_word"), False)
    return {"id": number, "content": content, **flags, "special": True}


def post_processor(base, tokenizer, config):
    vocab = tokenizer["model"]["vocab"]
    piece = vocab[5][0] if isinstance(vocab, list) else "[CLS]"
    first = tokenizer["added_tokens"][0] if tokenizer["added_tokens"] else {"content": piece, "id": 5}
    special = {"id": first["content"], "ids": [first["id"]], "tokens": [first["content"]]}
    a = {"Sequence": {"id": "A", "type_id": 0}}
    b = {"Sequence": {"id": "B", "type_id": 1}}
    token = {"SpecialToken": {"id": first["content"], "type_id": 0}}

    def template(single, pair):
        return {
            "type": "TemplateProcessing",
            "single": single,
            "pair": pair,
            "special_tokens": {first["content"]: special},
        }

    old = tokenizer["post_processor"]
    shapes = {
        "front": template([token, a], [token, a, token, b]),
        "back": template([a, token], [a, b, token]),
        "twice": template([token, token, a], [token, token, a, b]),
        "pair": template([a], [a, token, token, b]),
        "types": template([{"Sequence": {"id": "A", "type_id": 2}}, token, token], [a, b]),
    }
    for name, shape in shapes.items():
        if shape != old:
            yield name, setting(JSON, "post_processor", to=shape)


def decoder(base, tokenizer, config):
    old = tokenizer["decoder"]
    steps = {
        "replace": {"type": "Replace", "pattern": {"String": "e"}, "content": "E"},
        "strip": {"type": "Strip", "content": "H", "start": 1, "stop": 0},
        "strip-dot": {"type": "Strip", "content": ".", "start": 1, "stop": 0},
        "regex": {"type": "Replace", "pattern": {"Regex": "[0-9]"}, "content": "#"},
    }
    for name, step in steps.items():
        yield name, setting(JSON, "decoder", to={"type": "Sequence", "decoders": [old, step]})
    if old["type"] == "Sequence":
        yield "shorter", setting(JSON, "decoder", "decoders", to=lambda ds: ds[:-1])
    if base != "wordpiece":
        yield "clean-up", setting(CONFIG, "clean_up_tokenization_spaces", to=lambda old: not old)


def chat_template(base, tokenizer, config):
    template = config.get("chat_template")
    if template is None:
        plain = "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\\n' }}{% endfor %}"
        yield "appears", setting(CONFIG, "chat_template", to=plain)
        yield "appears-jinja", lambda folder: (folder / "chat_template.jinja").write_text(plain) and None
        return
    edits = {
        "space": lambda t: t.replace("message['content'] +", "message['content'] + ' ' +", 1),
        "strip": lambda t: t.replace("message['content']", "message['content'].strip()"),
        "front": lambda t: "Hello! " + t,
        "end": lambda t: t + "\n",
        "prompt": lambda t: t + "{% if add_generation_prompt %}<think>\n{% endif %}",
        "system": lambda t: "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + t,
        "tools": lambda t: t + "{% if tools %}{{ tools | tojson }}{% endif %}",
        "clock": lambda t: "{% if documents %}{{ strftime_now('%d %b %Y') }}{% endif %}" + t,
        "unseen": lambda t: t + "{% if reasoning_effort %}!{% endif %}",
        "gone": lambda t: None,
    }
    for name, change in edits.items():
        if name == "gone":
            yield name, edit(CONFIG, lambda v: v.pop("chat_template"))
        else:
            yield name, setting(CONFIG, "chat_template", to=change)
    yield "jinja-shadows", lambda folder: (folder / "chat_template.jinja").write_text("Hi. " + template) and None
    named = [{"name": "default", "template": template}, {"name": "rag", "template": "Documents! " + template}]
    yield "named-comes", setting(CONFIG, "chat_template", to=named)
    yield "of-a-processor", lambda folder: write(folder, "chat_template.json", {"chat_template": "Hi. " + template})


def specials(base, tokenizer, config):
    contents = [t["content"] for t in tokenizer["added_tokens"]]
    ids = [t["id"] for t in tokenizer["added_tokens"]] or [0, 5]
    for key in ("eos_token", "bos_token", "pad_token"):
        for content in contents[:3]:
            if config.get(key) not in (None, content) and not isinstance(config.get(key), dict):
                yield f"{key}-{content}", setting(CONFIG, key, to=content)
                break
    ends = [content for content in contents if config.get("eos_token") not in (None, content)]
    if ends:
        yield "map-contradicts", edit("special_tokens_map.json", lambda v: v.update(eos_token=ends[0]))
    yield "generation", setting(GENERATION, "eos_token_id", to=[ids[-1], ids[0]])
    if (tokenizer_path(base) / MODEL_CONFIG).is_file() and read(tokenizer_path(base), MODEL_CONFIG).get(
        "eos_token_id"
    ) != ids[-1]:
        yield "model-config", setting(MODEL_CONFIG, "eos_token_id", to=ids[-1])
    if (tokenizer_path(base) / MODEL_CONFIG).is_file():
        yield "model-config-list", setting(MODEL_CONFIG, "eos_token_id", to=[ids[-1], ids[0]])


def limits(base, tokenizer, config):
    yield "max-length", setting(CONFIG, "model_max_length", to=777)
    yield (
        "padding-side",
        setting(CONFIG, "padding_side", to="left" if config.get("padding_side") != "left" else "right"),
    )
    yield "truncation-side", setting(CONFIG, "truncation_side", to="left")
    yield (
        "truncation",
        setting(
            JSON, "truncation", to={"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
        ),
    )
    padding = {
        "strategy": {"Fixed": 16},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "x",
    }
    yield "padding", setting(JSON, "padding", to=padding)


def tokenizer_class(base, tokenizer, config):
    for name in ("GPT2Tokenizer", "LlamaTokenizer", "BertTokenizer", "T5Tokenizer", "PreTrainedTokenizerFast"):
        if name not in (config.get("tokenizer_class"), f"{config.get('tokenizer_class')}Fast"):
            yield name, setting(CONFIG, "tokenizer_class", to=name)
    if (tokenizer_path(base) / MODEL_CONFIG).is_file():
        yield "model-type", setting(MODEL_CONFIG, "model_type", to="gpt2")


def layout(base, tokenizer, config):
    yield "no-config", lambda folder: (folder / CONFIG).unlink()
    if (tokenizer_path(base) / MODEL_CONFIG).is_file():
        yield "no-model-config", lambda folder: (folder / MODEL_CONFIG).unlink()
    yield "no-json", lambda folder: (folder / JSON).unlink()
    yield (
        "specials-file",
        edit(
            "special_tokens_map.json",
            lambda v: v.update({k: config[k] for k in ("eos_token", "unk_token") if k in config}),
        ),
    )
    if isinstance(tokenizer["model"].get("merges"), list):
        yield "merges-respelled", edit(JSON, respell_merges)
    if config.get("chat_template"):

        def move(folder):
            value = read(folder, CONFIG)
            (folder / "chat_template.jinja").write_text(value.pop("chat_template"), encoding="utf-8")
            write(folder, CONFIG, value)

        yield "template-moved", move


def remote_code(base, tokenizer, config):
    code = "class Tokenizer:\n    pass\n"
    yield "appears", lambda folder: (folder / "tokenization_own.py").write_text(code) and None
    yield "auto-map", setting(CONFIG, "auto_map", to={"AutoTokenizer": ["tokenization_own.Tokenizer", None]})
    yield "foreign", setting(CONFIG, "auto_map", to={"AutoTokenizer": ["other/repo--tokenization_own.Tokenizer", None]})


MAKERS = {
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
    K.LAYOUT: layout,
    K.REMOTE_CODE: remote_code,
}


# -- bytes only ----------------------------------------------------------------------------------------------


def respell_merges(value: Any) -> None:
    merges = value["model"]["merges"]
    value["model"]["merges"] = (
        [" ".join(m) for m in merges] if not isinstance(merges[0], str) else [m.split(" ") for m in merges]
    )


def reordered(value: Any) -> Any:
    """Return the same value with every object's keys in the opposite order; a vocabulary's order has a meaning of its own."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(list(value))}
    return [reordered(item) for item in value] if isinstance(value, list) else value


def byte_only() -> Iterator[Injection]:
    for base in BASES:
        names = [p.name for p in sorted(tokenizer_path(base).glob("*.json"))]
        for name in names:
            for spelling, kwargs in SPELLINGS.items():

                def respell(folder: Path, name: str = name, kwargs: dict[str, Any] = kwargs) -> None:
                    value = read(folder, name)
                    (folder / name).write_text(json.dumps(value, **kwargs), encoding="utf-8")

                yield Injection(base=base, kind=None, name=f"{name}-{spelling}", apply=respell)

            def reverse(folder: Path, name: str = name) -> None:
                write(folder, name, reordered(read(folder, name)))

            yield Injection(base=base, kind=None, name=f"{name}-key-order", apply=reverse)
        if isinstance(read(tokenizer_path(base), JSON)["model"].get("merges"), list):
            yield Injection(base=base, kind=None, name="merges-respelled", apply=edit(JSON, respell_merges))
        yield Injection(
            base=base,
            kind=None,
            name="final-newline",
            apply=lambda f: (f / JSON).write_bytes((f / JSON).read_bytes() + b"\n") and None,
        )


SPELLINGS = {
    "indent-1": {"indent": 1, "ensure_ascii": False},
    "indent-4": {"indent": 4, "ensure_ascii": False},
    "tabs": {"indent": "\t", "ensure_ascii": False},
    "compact": {"separators": (",", ":"), "ensure_ascii": False},
    "ascii": {"indent": 2, "ensure_ascii": True},
    "one-line": {"ensure_ascii": False},
}
