"""Write data/probes/llama2-style-versions.json: our Llama-2 style SentencePiece model under five transformers versions.

Needs uv and the package index; two minutes, most of it downloads.  Notebook 03 shows the result, so that it runs offline.
The ids behind it are those of the versions' own environments, made by chatlab.history.environments.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from chatlab.embedded import tokenizer_path
from chatlab.history.environments import compare_versions
from chatlab.tokenizers.source import Source

VERSIONS = ["4.31.0", "4.46.3", "4.57.1", "5.0.0", "5.23.0"]
PROMPT = "<s>[INST] Hi [/INST] Hello. </s><s>[INST] Who? [/INST] Me. </s><s>[INST] Bye [/INST] "
CONFIG = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
LEGACY = {"legacy unset": {}, "legacy true": {"legacy": True}, "legacy false": {"legacy": False}}


def main() -> None:
    found = {}
    for name, extra in LEGACY.items():
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(tokenizer_path("llama2-style/legacy") / "tokenizer.model", folder)
            (Path(folder) / "tokenizer_config.json").write_text(json.dumps({**CONFIG, **extra}))
            (Path(folder) / "config.json").write_text(json.dumps({"model_type": "llama"}))
            source = Source(kind="folder", name=f"tokenizer.model, {name}", folder=Path(folder))
            matrix = compare_versions(source, VERSIONS, prompts=[PROMPT], progress=print)
            found[name] = matrix.to_dict()
            print(matrix.to_markdown())
    path = Path(__file__).parent / "probes" / "llama2-style-versions.json"
    path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
