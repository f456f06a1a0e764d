"""Imports: a file imports only from floors below its own, as CONTRIBUTING.md says."""

import ast
from pathlib import Path

import micrograd

PACKAGE = Path(micrograd.__file__).parent
FLOORS = [
    ["arguments", "tables", "files", "randomness", "references"],
    ["rule"],
    ["rules", "watching"],
    ["scalar"],
    ["engine"],
    ["functional", "naming", "stepping", "digits"],
    ["nn", "optim", "data"],
    ["derivatives", "anomaly", "debugger", "drawing", "explorer", "testing", "compiler"],
    ["training", "exporter"],
    ["__init__", "__main__"],
]
FLOOR = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}
DOOR = ("engine", "stepping")  # Value.steps opens it when it is called
NEIGHBOURS = {  # imports within one floor, without a cycle
    ("stepping", "naming"),  # steps call the nodes by their names
    ("explorer", "drawing"),  # the page shows the drawing
    ("debugger", "drawing"),  # so does the debugger
    ("compiler", "drawing"),  # and a listing of a program
}


def room_of(file):
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def list_imports(file):
    """Yields the modules that a file imports, and whether it imports them when it is loaded."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    package = ["micrograd", *file.relative_to(PACKAGE).parent.parts]
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if not isinstance(node, (ast.ImportFrom, ast.Import)) or id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            modules = [name.name.split(".") for name in node.names]
        else:
            base = package[: len(package) - node.level + 1] if node.level else []
            module = [*base, *(node.module.split(".") if node.module else [])]
            modules = [module] if node.module else [[*module, name.name] for name in node.names]
        for module in modules:
            if module[0] == "micrograd" and len(module) > 1:
                yield module[1], id(node) in top


FILES = sorted(PACKAGE.rglob("*.py"))


def test_every_file_has_a_floor():
    assert {room_of(file) for file in FILES} <= set(FLOOR)


def test_a_file_imports_only_from_floors_below_its_own():
    wrong = []
    for file in FILES:
        here = room_of(file)
        for other, _ in list_imports(file):
            below = FLOOR.get(other, -1) < FLOOR[here]
            if not (other == here or below or (here, other) in NEIGHBOURS or (here, other) == DOOR):
                wrong.append(f"{file.relative_to(PACKAGE)} imports {other}")
    assert not wrong


def test_the_open_door_is_opened_only_when_it_is_used():
    assert {is_at_top for other, is_at_top in list_imports(PACKAGE / "engine.py") if other == DOOR[1]} == {False}


def test_no_module_imports_itself_on_a_detour():
    """There is no cycle of imports, not even within a package."""
    paths = {
        ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): file for file in FILES
    }
    graph = {name: set() for name in paths}
    for name, file in paths.items():
        folder = file.relative_to(PACKAGE).parent.parts
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.level:
                base = folder[: len(folder) - node.level + 1]
                module = ".".join([*base, *(node.module.split(".") if node.module else [])])
                inside = [f"{module}.{alias.name}".lstrip(".") for alias in node.names]
                graph[name] |= {part if part in paths else module for part in inside} & set(paths) - {name}
    waiting, done = dict(graph), set()
    while ready := [name for name, others in waiting.items() if others <= done]:
        done.update(ready)
        for name in ready:
            del waiting[name]
    assert not waiting, f"a circle among {', '.join(waiting)}"
