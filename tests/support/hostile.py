"""A small folder of a tokenizer, what strangers do to it, and the canaries that must stay as they are."""

from __future__ import annotations

import json
import os
import pickle
import socket
import tarfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

SECRET = "canary-5f1e0b7c-secret"
OBEYED = {chr(n) for n in (*range(0x20), *range(0x7F, 0xA0))} - set("\n\t") | set(
    "\u200e\u2028\u2066\u202a\u202e\U000e0041"
)
COMMAND = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\x9b31m\u202e\x7f"
HTML = "</pre></script><img src=x onerror=alert(1)><script>alert(1)</script>"
FORMULA = '=HYPERLINK("http://192.0.2.1")'
HOSTILE = f"{FORMULA}{COMMAND}{HTML}[x](javascript:alert(1))|`"
"""What each sink would obey, in one text."""

TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


@cache
def _files() -> dict[str, str]:
    """A byte-level tokenizer without merges: every reader takes it, and its probes cost next to nothing."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    rust = Tokenizer(models.BPE({piece: i for i, piece in enumerate(alphabet)}, []))
    rust.pre_tokenizer, rust.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    rust.add_special_tokens(["<s>", "</s>", "<|im_start|>", "<|im_end|>"])
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "chat_template": TEMPLATE,
    }
    return {"tokenizer.json": rust.to_str(), "tokenizer_config.json": json.dumps(config)}


def make_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, text in _files().items():
        (folder / name).write_text(text)
    return folder


class Canary:
    """Everything that an attack reaches for, and whether it got there."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir()
        self.secret, self.touched = home / "id_secret", home / "touched"
        self.secret.write_text(json.dumps({"chat_template": SECRET, "model_type": SECRET, "version": SECRET}))
        self.program = home / "program.sh"
        self.program.write_text(f"#!/bin/sh\ntouch {self.touched}\n")
        self.program.chmod(0o755)
        self.code = f"import os; open({str(self.touched)!r}, 'w').close(); os.environ['CANARY'] = 'touched'\n"
        self.port = socket.create_server(("127.0.0.1", 0))
        self.port.setblocking(False)
        self.asked = False
        self.address = f"http://127.0.0.1:{self.port.getsockname()[1]}/"

    def close(self) -> None:
        self.port.close()

    def check(self, shown: str, terminal: str) -> None:
        """Nothing was read out, run, asked, reached or obeyed."""
        assert not self.touched.exists(), "code was run"
        assert os.environ.get("CANARY") is None, "the environment was changed"
        assert SECRET not in shown + terminal, "a secret was read out"
        assert not self.asked, "somebody was asked on standard input"
        assert not OBEYED & set(terminal), f"a terminal would obey {sorted(map(ascii, OBEYED & set(terminal)))}"
        with pytest.raises(BlockingIOError):
            self.port.accept()
        assert sorted(p.name for p in self.home.iterdir()) == ["id_secret", "program.sh"], "a file was left outside"


Attack = Callable[[Path, Canary], None]


def link(name: str) -> Attack:
    def attack(folder: Path, canary: Canary) -> None:
        place = folder / name
        place.parent.mkdir(exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(canary.secret)

    return attack


def fifo(name: str) -> Attack:
    def attack(folder: Path, canary: Canary) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return attack


def device(name: str) -> Attack:
    def attack(folder: Path, canary: Canary) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to("/dev/zero")

    return attack


def config(name: str = "tokenizer_config.json", **fields: Any) -> Attack:
    """Fields of a JSON file; functions are told the canary."""

    def attack(folder: Path, canary: Canary) -> None:
        path = folder / name
        old = json.loads(path.read_text()) if path.exists() else {}
        new = {key: value(canary) if callable(value) else value for key, value in fields.items()}
        path.write_text(json.dumps({**old, **new}))

    return attack


def code(name: str, **fields: Any) -> Attack:
    def attack(folder: Path, canary: Canary) -> None:
        config(name, **fields)(folder, canary)
        for module in ("evil", "tokenization_evil", "modeling_evil", "configuration_evil"):
            (folder / f"{module}.py").write_text(canary.code)
        for module in ("sitecustomize", "usercustomize", "conftest", "__init__"):
            (folder / f"{module}.py").write_text(canary.code)

    return attack


def template(text: str | Callable[[Canary], str]) -> Attack:
    return config(chat_template=text)


class _Bomb:
    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> Any:
        return exec, (self.code,)


def pickles(folder: Path, canary: Canary) -> None:
    bomb = pickle.dumps(_Bomb(canary.code))
    for name in (
        "pytorch_model.bin",
        "tokenizer.pkl",
        "vocab.pkl",
        "training_args.bin",
        "vocab.pt",
        "model.ckpt",
        "tokenizer.model",
    ):
        (folder / name).write_bytes(bomb)


def archives(folder: Path, canary: Canary) -> None:
    with zipfile.ZipFile(folder / "tokenizer.zip", "w") as archive:
        archive.writestr(f"../{canary.home.name}/touched", "x")
        archive.writestr(str(canary.touched), "x")
    with tarfile.open(folder / "tokenizer.tar.gz", "w:gz") as archive:
        archive.add(folder / "tokenizer.json", arcname=str(canary.touched))
    (folder / "model.nemo").write_bytes((folder / "tokenizer.tar.gz").read_bytes())


def tokens(folder: Path, canary: Canary) -> None:
    """Names of tokens, in the table and among the added ones."""
    path = folder / "tokenizer.json"
    state = json.loads(path.read_text())
    state["added_tokens"].append(
        {**state["added_tokens"][-1], "id": len(state["model"]["vocab"]) + 4, "content": HOSTILE}
    )
    path.write_text(json.dumps(state))


def vocabulary_elsewhere(field: str, kind: str, text: str) -> Attack:
    """A class without files of its own, that is told where to find them."""

    def attack(folder: Path, canary: Canary) -> None:
        for file in folder.iterdir():
            file.unlink()
        place = os.path.relpath(canary.secret) if text == "relative" else str(canary.secret)
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind, field: place}))
        (folder / "config.json").write_text("{}")

    return attack


def file_names(folder: Path, canary: Canary) -> None:
    for name in (
        f"{COMMAND}.json".replace("/", ""),
        "$(touch touched).jinja",
        "-rf.json",
        "; touch touched;.model.txt",
        "\n.json",
    ):
        (folder / name).write_text("{}")


def regex_bomb(folder: Path, canary: Canary) -> None:
    path = folder / "tokenizer.json"
    state = json.loads(path.read_text())
    split = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    state["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, state["pre_tokenizer"]]}
    path.write_text(json.dumps(state))


def damaged(name: str, data: bytes) -> Attack:
    def attack(folder: Path, canary: Canary) -> None:
        (folder / name).write_bytes(data)

    return attack


ESCAPES = {
    "class": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals": "{{ cycler.__init__.__globals__.os.popen('PROGRAM').read() }}",
    "open": "{{ messages.__class__.__base__.__subclasses__()[0].__init__.__globals__['__builtins__']['open']('SECRET').read() }}",
    "include": "{% include 'SECRET' %}",
    "import": "{% import 'SECRET' as x %}{{ x }}",
    "extends": "{% extends 'SECRET' %}",
    "self": "{{ self.__init__.__globals__ }}{{ self._TemplateReference__context }}",
    "attr": "{{ ''|attr('__class__')|attr('__mro__') }}",
    "format": "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}",
    "format map": "{{ '{x.__class__}'.format_map({'x': messages}) }}",
    "lipsum": "{{ lipsum.__globals__['os'].system('PROGRAM') }}",
    "namespace": "{% set n = namespace() %}{% set n.__class__ = 1 %}{{ n.__init__.__globals__ }}",
    "raise": "{{ raise_exception.__globals__['__builtins__']['__import__']('os').system('PROGRAM') }}",
    "append": "{{ messages.append(1) }}{{ messages.clear() }}",
    "environ": "{{ strftime_now.__globals__ }}{{ tojson.__globals__ }}",
}


def escape(text: str) -> Attack:
    return template(
        lambda canary: TEMPLATE + text.replace("PROGRAM", str(canary.program)).replace("SECRET", str(canary.secret))
    )


FOLDERS: dict[str, Attack] = {
    **{
        f"link {name}": link(name)
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json", "added_tokens.json",
                     "config.json", "generation_config.json", "vocab.txt", "additional_chat_templates/rag.jinja", "tokenizer.model")
    },
    **{f"fifo {name}": fifo(name) for name in ("config.json", "tokenizer.json", "chat_template.jinja", "tokenizer_config.json")},
    "device chat_template.jinja": device("chat_template.jinja"),
    "device config.json": device("config.json"),
    "code of a tokenizer": code("tokenizer_config.json", tokenizer_class="Evil", auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]}),
    "code of a config": code("config.json", model_type="evil", auto_map={"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil", "AutoTokenizer": ["evil.Evil", None]}),
    "code of another repository": code("tokenizer_config.json", tokenizer_class="Evil", auto_map={"AutoTokenizer": ["evil/repo--evil.Evil", None]}),
    **{f"template {name}": escape(text) for name, text in ESCAPES.items()},
    "template that raises commands": template(f"{{{{ raise_exception({COMMAND!r}) }}}}"),
    "template of commands": template(TEMPLATE + HOSTILE.replace("{", "(")),
    "template that fetches": escape("{{ url_for('ADDRESS') }}<img src='http://192.0.2.1/x'>"),
    "tokens of commands": tokens,
    "a model type of commands": config("config.json", model_type=HOSTILE),
    "a class of commands": config(tokenizer_class=HOSTILE),
    "a special token of commands": config(eos_token=HOSTILE),
    "templates named by commands": config(chat_template=[{"name": "default", "template": TEMPLATE}, {"name": HOSTILE, "template": HOSTILE.replace("{", "(")}]),
    "file names": file_names,
    **{f"{field} of a {kind} elsewhere, {text}": vocabulary_elsewhere(field, kind, text)
       for field, text in (("vocab", "absolute"), ("vocab", "relative"), ("vocab_file", "absolute")) for kind in ("BertTokenizer", "LlamaTokenizer")},
    "pickles": pickles,
    "archives": archives,
    "a regex bomb": regex_bomb,
    "broken JSON of commands": damaged("tokenizer_config.json", ('{"a": ' + COMMAND).encode()),
    "a damaged vocabulary": damaged("tokenizer.json", b'{"version": "1.0", "model": "\x1b[31m"}'),
}  # fmt: skip
