"""The house keeps its plan: arrows run one way, no cycles, one owner for each outside library."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import ROOT

# A module may import modules of a lower level, and modules of its own room.
LEVELS = [
    {"render"},
    {"errors"},
    {"browser", "embedded", "files", "folder", "lexicon", "place", "plain", "plots", "severity", "terminal"},
    {"child", "forms", "progress", "results"},
    {"tokenizers", "prompts", "buffering"},
    {"engines"},
    {"streaming"},
    {"laboratory"},
    {"echo"},
    {"snapshots"},
    {"turns"},  # a comparison and a lock name what the audit of a template finds
    {"revisions"},
    {"locks", "history"},
    {"diagnosis", "probe", "sweeps"},
    {"reports", "widgets"},
    {"server"},
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
    "dulwich": {"tokenizers.git"},
    "fastapi": {"server"},
    "starlette": {"server"},
    "uvicorn": {"server"},
    "ipywidgets": {"widgets"},
    "anywidget": {"widgets"},
    "matplotlib": {"plots"},
    "sentencepiece": {"tokenizers", "snapshots.recorder"},  # the recorder stands alone, under any library version
    "typer": {"cli"},
    "xllamacpp": {"tokenizers.gguf.llama_cpp"},
    "distributed": {"sweeps.pools"},
    "loky": {"sweeps.pools"},
    "mistral_common": {"tokenizers.bytewise.tekken"},
    "tiktoken": {"tokenizers.bytewise.tiktoken_file"},
}


def module_files() -> dict[str, str]:
    files = {}
    for path in sorted((ROOT / "chatlab").rglob("*.py")):
        parts = path.relative_to(ROOT / "chatlab").with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        files[name] = path.read_text(encoding="utf-8")
    return files


FILES = module_files()
PACKAGES = {
    ".".join(path.parent.relative_to(ROOT / "chatlab").parts) for path in (ROOT / "chatlab").rglob("__init__.py")
} - {""}
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


def arrows(node: Callable[[str], str] = str) -> dict[str, set[str]]:
    """Who imports whom, also in functions and for types alone; ``node`` says what a module counts as."""
    graph: dict[str, set[str]] = {}
    for name, source in FILES.items():
        if name:
            targets = {
                t.removeprefix("chatlab.") for t, _ in imports(source) if t.startswith("chatlab.")
            } & FILES.keys()
            graph.setdefault(node(name), set()).update(map(node, targets))
    return {name: targets - {name} for name, targets in graph.items()}


def folder_of(module: str) -> str:
    return module if module in PACKAGES else module.rpartition(".")[0]


def sub_room(module: str) -> str:
    """A sub-room, such as ``prompts.formats``, is one; the files of a room itself stand for themselves."""
    return folder_of(module) if "." in folder_of(module) else module


def cycle_of(graph: dict[str, set[str]]) -> list[str]:
    """One cycle, or nothing."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        found: list[str] = []
        if name not in done:
            for target in sorted(graph.get(name, ())):
                found = found or visit(target, [*path, name])
            done.add(name)
        return found

    return next(filter(None, (visit(name, []) for name in sorted(graph))), [])


def test_no_module_stands_in_an_import_cycle() -> None:
    """Not for types and not inside functions either: what two files both need stands in a third."""
    assert not cycle_of(arrows())


def test_no_two_sub_rooms_know_each_other() -> None:
    """Of two sub-rooms, or a sub-room and a file of its room, one is the lower."""
    assert not cycle_of(arrows(sub_room))


def test_the_search_for_cycles_finds_them() -> None:
    assert cycle_of({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert not cycle_of({"a": {"b", "c"}, "b": {"c"}})


def test_a_room_holds_one_idea() -> None:
    """More than fourteen files hold two."""
    crowds = Counter(folder_of(name) for name in FILES if name not in PACKAGES)
    assert not {room: count for room, count in crowds.items() if room and count > 14}


def test_every_room_says_what_lives_there() -> None:
    for package in PACKAGES:
        told = ast.get_docstring(ast.parse(FILES[package]))
        assert told, f"{package}/__init__.py has no docstring"


@pytest.mark.parametrize("library", OWNERS)
def test_each_outside_library_has_one_owner(library: str) -> None:
    for name, source in FILES.items():
        used = {t for t, typing_only in imports(source) if t.split(".")[0] == library and not typing_only}
        owned = any(name == owner or name.startswith(f"{owner}.") for owner in OWNERS[library])
        assert not used or owned, f"{name} imports {library}, which belongs to {sorted(OWNERS[library])}"


# Who may print, and why it is safe there; what is said anywhere else goes through one of these.
PRINTERS = {
    "terminal": "the escape itself",
    "progress.screens": "one line of the escape's own, after its own carriage return",
    "widgets.printer": "a reply where there is no notebook, escaped",
    "snapshots.recorder": "JSON to the process that asked; it stands alone, under any library version",
    "prompts.templates.sandbox": "JSON to the process that asked",
}
SAYING = {
    "print",
    "sys.stdout",
    "sys.stderr",
    "sys.__stdout__",
    "sys.__stderr__",
    "typer.echo",
    "typer.secho",
    "rich.print",
}
SAYING |= {"traceback.print_exc", "traceback.print_exception", "traceback.print_stack", "warnings.showwarning"}


def said(source: str) -> set[str]:
    """What a file prints with; looking whether somebody sees it, and naming the stream to a library, is no printing."""
    tree = ast.parse(source)
    calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    streams = [
        ast.unparse(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("write", "writelines", "buffer")
    ]
    given = [ast.unparse(a) for node in ast.walk(tree) if isinstance(node, ast.Call) for a in node.args]
    return SAYING & {*calls, *streams, *given}


@pytest.mark.parametrize("module", [name for name in FILES if name and name not in PRINTERS])
def test_only_the_escape_prints(module: str) -> None:
    """A caller cannot forget an escape that stands where the text leaves: no other file has a way out."""
    assert not said(FILES[module]), f"{module} prints by itself: use chatlab.terminal.Terminal"
    assert "rich.console.Console" not in {name for name, typing_only in imports(FILES[module]) if not typing_only}
    assert "rich.markup.escape" not in {name for name, _ in imports(FILES[module])}, "a Terminal reads no markup"


def test_json_for_people_is_written_by_its_escape() -> None:
    """Elsewhere JSON is a message to a program, or a lock in ASCII."""
    told = {name for name, source in FILES.items() if "json.dumps" in source and "ensure_ascii=False" in source}
    assert not {name for name in told if name.split(".")[0] in ("cli", "reports", "locks", "history", "snapshots")} - {
        "snapshots.recorder"
    }


def test_every_table_for_a_spreadsheet_passes_its_escape() -> None:
    assert {name for name, source in FILES.items() if "to_csv(" in source} <= {"reports.drift"}


def test_no_drawer_names() -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "core", "misc"}
    assert not [name for name in FILES if drawers & set(name.split("."))]


def test_no_test_imports_from_a_test() -> None:
    """What several need stands beside them, or in tests/support where rooms share it."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        room = path.relative_to(ROOT).parent.as_posix().replace("/", ".")
        for target, _ in imports(path.read_text(encoding="utf-8")):
            parts = target.split(".")
            if parts[0] == "tests" and len(parts) > 2:
                assert not any(part.startswith("test_") for part in parts[:-1]), f"{path.name} imports {target}"
                shared = target.startswith(("tests.support", "tests.conftest")) or room.startswith(f"tests.{parts[1]}")
                assert shared, f"{path} imports {target} of another room: put it into tests/support"
