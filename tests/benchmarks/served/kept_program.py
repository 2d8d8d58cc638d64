"""Resident megabytes while requests of many lengths change places under a bound: BOUND_MB, then a line for each 50 requests.

The first line is of an engine that keeps nothing.
"""

import random
import re
import sys
from pathlib import Path

import torch

from chatlab.engines.local import LocalEngine
from chatlab.engines.sampling import SamplingParams
from chatlab.testing import tiny_llama

limit, draw = int(sys.argv[1]) * 2**20, random.Random(0)
torch.set_num_threads(1)
model = tiny_llama(512, hidden_len=128, layers=4)
params = SamplingParams(temperature=0, max_new_tokens=2, context_len=2048)


def resident_after(count: int, engine: LocalEngine) -> float:
    for _ in range(count):
        list(engine.submit([draw.randrange(3, 512) for _ in range(draw.randint(50, 700))], params))
        assert engine.kept_bytes <= limit
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024


with LocalEngine(model, eos_ids=()) as anew, LocalEngine(model, eos_ids=(), reuse_prefix=limit) as engine:
    print(resident_after(100, anew))
    for _ in range(9):
        print(resident_after(50, engine))
    assert engine.kept_bytes > 0.9 * limit
