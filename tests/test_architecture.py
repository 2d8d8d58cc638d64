"""The house keeps its plan: arrows run one way, no cycles, one owner for each outside library."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT

# A module may import modules of a lower level, and modules of its own room.
LEVELS = [
    {"errors"},
    {"embedded", "files", "lexicon", "place", "plain", "plots", "render", "severity"},
    {"progress", "results"},
    {"tokenizers", "prompts", "buffering"},
    {"engines"},
    {"streaming"},
    {"echo"},
    {"snapshots"},
    {"revisions"},
    {"locks", "history"},
    {"turns", "probe", "sweep"},
    {"reports", "widgets", "server"},
    {"testing"},
    {"cli"},
    {"__main__"},
]

# Which room alone may import an outside library; a longest prefix wins.
OWNERS = {
    "torch": {
        "engines.local",
        "engines.processors",
        "engines.rows",
        "engines.cache",
        "engines.batch",
        "engines.device",
        "engines.load",
        "testing.models",
    },
    "httpx2": {"engines.transport.connection"},
    "fastapi": {"server"},
    "ipywidgets": {"widgets"},
    "anywidget": {"widgets"},
    "matplotlib": {"plots"},
    "sentencepiece": {"tokenizers", "snapshots.recorder"},  # the recorder stands alone, under any library version
    "typer": {"cli"},
}


def module_files() -> dict[str, str]:
    files = {}
    for path in sorted((ROOT / "chatlab").rglob("*.py")):
        parts = path.relative_to(ROOT / "chatlab").with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        files[name] = path.read_text(encoding="utf-8")
    return files


FILES = module_files()
ROOMS = {name.split(".")[0] for name in FILES if name}


def imports(source: str) -> Iterator[tuple[str, bool]]:
    """Each imported dotted name, and whether it stands under TYPE_CHECKING."""
    stack = [(node, False) for node in ast.parse(source).body]
    while stack:
        node, typing_only = stack.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            stack += [(child, True) for child in node.body] + [(child, typing_only) for child in node.orelse]
        elif isinstance(node, ast.Import):
            yield from ((alias.name, typing_only) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "chatlab imports by full name"
            if node.module != "chatlab":
                yield node.module or "", typing_only
            yield from ((f"{node.module}.{alias.name}", typing_only) for alias in node.names)
        else:
            stack += [(child, typing_only) for child in ast.iter_child_nodes(node)]


def level(room: str) -> int:
    for number, rooms in enumerate(LEVELS):
        if room in rooms:
            return number
    raise AssertionError(f"{room} has no level: give it one in tests/test_architecture.py")


@pytest.mark.parametrize("module", [name for name in FILES if name])
def test_arrows_run_down(module: str) -> None:
    """Functions' own imports count too: a late import is still an arrow."""
    room = module.split(".")[0]
    for target, _ in imports(FILES[module]):
        if target.startswith("chatlab."):
            other = target.split(".")[1]
            assert other in ROOMS, f"{module} imports {target} from the package root"
            assert other == room or level(other) < level(room), f"{module} imports {target}: the arrow runs up"


def test_no_module_stands_in_an_import_cycle() -> None:
    graph: dict[str, set[str]] = {}
    for name, source in FILES.items():
        targets = {
            t.removeprefix("chatlab.")
            for t, typing_only in imports(source)
            if t.startswith("chatlab.") and not typing_only
        }
        graph[name] = {t for t in targets if t in FILES and t != name}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"cycle: {' -> '.join([*path, name])}"
        if name not in done:
            for target in graph[name]:
                visit(target, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("library", OWNERS)
def test_each_outside_library_has_one_owner(library: str) -> None:
    for name, source in FILES.items():
        used = {t for t, typing_only in imports(source) if t.split(".")[0] == library and not typing_only}
        owned = any(name == owner or name.startswith(f"{owner}.") for owner in OWNERS[library])
        assert not used or owned, f"{name} imports {library}, which belongs to {sorted(OWNERS[library])}"


def test_no_drawer_names() -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "core", "misc"}
    assert not [name for name in FILES if drawers & set(name.split("."))]
