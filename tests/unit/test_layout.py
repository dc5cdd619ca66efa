"""Imports point one way, between folders and the modules beside them."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

HANDLER = Path(__file__).parents[2] / "src/handler"
MAX_LEVELS = 8


def room_of(name: str) -> str:
    """Return the folder of a module of `handler`, or the module itself where it lies beside them."""
    return name.split(".")[1]


def imported_by(path: Path) -> set[str]:
    """Return the rooms that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.ImportFrom(module="handler", names=names):
                found |= {name.name for name in names}
            case ast.ImportFrom(module=str(module)) if module.startswith("handler."):
                found.add(room_of(module))
            case ast.Import(names=names):
                found |= {room_of(name.name) for name in names if name.name.startswith("handler.")}
    return found


def rooms() -> dict[str, set[str]]:
    """Return what each room imports of the others."""
    graph: dict[str, set[str]] = {}
    for path in HANDLER.rglob("*.py"):
        room = path.relative_to(HANDLER).parts[0].removesuffix(".py")
        graph.setdefault(room, set()).update(imported_by(path) - {room})
    return graph


def test_no_room_imports_another_both_ways_and_there_are_few_levels() -> None:
    """A circle raises; a reader goes down eight levels at most."""
    graph = rooms()
    levels: dict[str, int] = {}
    for room in TopologicalSorter(graph).static_order():
        levels[room] = 1 + max((levels[below] for below in graph[room]), default=0)
    assert max(levels.values()) <= MAX_LEVELS, levels


def test_nobody_imports_the_wiring() -> None:
    """`app` acts when it is imported."""
    assert not any("app" in imported for imported in rooms().values())


def test_the_client_knows_nothing_of_aws_and_of_alerts() -> None:
    """It is a library by itself."""
    assert rooms()["pagerduty"] == set()
    texts = [path.read_text() for path in (HANDLER / "pagerduty").glob("*.py")]
    assert not any("boto" in text or "aws_lambda_powertools" in text for text in texts)
