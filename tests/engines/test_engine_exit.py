"""What a program leaves open is closed at its exit, whatever else went wrong in it."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import atexit
from chatlab.engines.local import LocalEngine
from chatlab.engines.sampling import SamplingParams
from chatlab.errors import EngineError
from chatlab.testing import tiny_llama

engines = [LocalEngine(tiny_llama(64), eos_ids=(), torch_threads=1) for _ in range(4)]
streams = [engine.submit([5], SamplingParams(max_new_tokens=900)) for engine in engines]
try:
    LocalEngine(tiny_llama(64), decode_rows=0)
except EngineError as error:
    refused = error  # as a notebook keeps it: its frames hold the engine that never was
atexit._run_exitfuncs()
print([list(stream)[-1].finish_reason for stream in streams])
"""


def test_an_engine_that_was_refused_keeps_no_other_open_at_the_exit() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120)
    assert run.stderr == ""
    assert run.stdout.strip() == str(["cancelled"] * 4)
