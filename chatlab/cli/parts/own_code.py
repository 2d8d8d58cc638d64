"""A user's own classes and functions by name: ``module:Name`` or ``path/to/file.py:Name``."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

from chatlab.errors import PromptError


def imported(name: str) -> Any:
    """Return what ``name`` names, a file's code run as ``python file.py`` would find its neighbours.

    Raises:
        PromptError: it names nothing, or its module fails.
    """
    where, _, attribute = name.rpartition(":")
    if not where or not attribute:
        raise PromptError(f"{name} names no class or function: write module:Name or path/to/file.py:Name")
    try:
        return reduce(getattr, attribute.split("."), _module(where))
    except (Exception, SystemExit) as error:  # a module's own code may raise anything, and may leave
        raise PromptError(f"{name} did not import: {type(error).__name__}: {error}") from error


def _module(where: str) -> ModuleType:
    path = Path(where)
    if path.suffix != ".py":
        sys.path.append(os.getcwd())  # last: what lies here by the name of a library is not imported for it
        return importlib.import_module(where)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    sys.path.insert(0, str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # as for any import: dataclasses and pickles look their module up
    spec.loader.exec_module(module)
    return module
