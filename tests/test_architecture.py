"""The house (design, section 3): imports go down only, and the core knows no Ray, MLflow or YAML."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import mica

ROOT = Path(mica.__file__).parent

FLOORS = (
    ("mica", "mica.errors", "mica.rng", "mica.files", "mica.masks", "mica.apportionment", "mica.machine_code",
     "mica.named", "mica.options", "mica.registry", "mica.imports", "mica.wording"),
    ("mica.graph",),
    ("mica.data", "mica.models", "mica.pruners.connection", "mica.pruners.scores"),
    ("mica.pruners",),
    ("mica.pruning", "mica.compaction"),
    ("mica.edgewise",),
    ("mica.training.protocol", "mica.training.images", "mica.training.evaluation", "mica.training.optimiser",
     "mica.training.state", "mica.training.gathering", "mica.training.learner", "mica.training.graphed",
     "mica.training.moving", "mica.training.workers"),
    ("mica.training.forms",),
    ("mica.training",),
    ("mica.trial", "mica.exporting"),
    ("mica.sweep.plan", "mica.sweep.store"),
    ("mica.sweep.track",),
    ("mica.sweep.drive",),
    ("mica.sweep.doctor",),
    ("mica.sweep",),
    ("mica.report.cells",),
    ("mica.report.figures", "mica.report.tables", "mica.report.html"),
    ("mica.report", "mica.bench"),
    ("mica.cli",),
)  # fmt: skip
"""The rooms, two folders deep, from the ground up. A module lies in the room of its longest name here."""
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
CORE = FLOOR["mica.trial"]
"""The highest floor that runs a trial in one process, with no Ray, MLflow, YAML or terminal."""

ONLY_HERE = {
    "ray": {"mica.sweep.drive.lane"}
    | {
        f"mica.sweep.drive.ray_{name}"
        for name in ("cluster", "desk", "lanes", "neighbours", "nodes", "survey", "tune")
    },
    "mlflow": {f"mica.sweep.track.{name}" for name in ("client", "front", "runs")},
    "yaml": {"mica.sweep.plan.bounded_yaml", "mica.sweep.plan.yaml_file"},
    "click": {"mica.report.report"}
    | {f"mica.cli.{name}" for name in ("console", "doctor", "main", "results", "run", "single", "tracking")},
}


@dataclass(frozen=True)
class Import:
    target: str
    line: int
    at_load: bool
    """Whether it runs when the module is loaded: not inside a function, nor for type checkers only."""


def name_of(path: Path) -> str:
    parts = ("mica", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def imports(name: str) -> list[Import]:
    return list(_imports(ast.parse(MODULES[name].read_text()), at_load=True))


def _imports(node: ast.AST, *, at_load: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, node.lineno, at_load) for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        assert not node.level, "imports are absolute here"
        source = node.module or ""
        for alias in node.names:
            inner = f"{source}.{alias.name}"
            yield Import(inner if inner in MODULES else source, node.lineno, at_load)
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        at_load = False
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        at_load = False
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, at_load=at_load)


def room_of(module: str) -> str:
    """A package's own module of the root, or the deepest folder that has a floor."""
    parts = module.split(".")
    names = [".".join(parts[:length]) for length in range(len(parts), 1 if len(parts) > 1 else 0, -1)]
    return next(name for name in names if name in FLOOR)


def floor_of(module: str) -> int:
    return FLOOR[room_of(module)]


def of_ours(name: str) -> list[Import]:
    return [item for item in imports(name) if item.target.split(".")[0] == "mica"]


def test_the_modules_are_found() -> None:
    assert {"mica", "mica.cli.main", "mica.data.cifar", "mica.trial.run"} <= MODULES.keys()
    found = {item.target for item in imports("mica.trial.run")}
    assert {"numpy", "mica.trial.spec", "mica.training.forms"} <= found
    assert not any(item.at_load for item in imports("mica.cli.main") if item.target.startswith("mica.sweep"))


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_a_floor(name: str) -> None:
    floor_of(name)  # a new module belongs into FLOORS, above all that it imports


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down_only(name: str) -> None:
    if name == "mica":  # the package's front door passes on what lies on every floor, on first use
        assert {item.target for item in of_ours(name) if item.at_load} == {"mica.imports"}
        return
    higher = [item for item in of_ours(name) if floor_of(item.target) > floor_of(name)]
    assert not [f"{MODULES[name]}:{item.line} imports {item.target}" for item in higher]


@pytest.mark.parametrize("package", ["ray", "mlflow", "yaml", "click"])
def test_each_foreign_package_has_its_one_place(package: str) -> None:
    users = {name for name in MODULES if any(i.target.split(".")[0] == package for i in imports(name))}
    assert users <= ONLY_HERE[package]
    assert all(floor_of(name) > CORE for name in users)


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: {item.target for item in of_ours(name) if item.at_load} for name in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(reversed(error.args[1])))


def test_no_rooms_import_each_other_in_a_circle() -> None:
    """Rooms of one floor too: the modules of a folder, taken together."""
    graph: dict[str, set[str]] = {}
    for name in MODULES:
        if name != "mica":
            targets = {room_of(item.target) for item in of_ours(name)} - {"mica"}
            graph.setdefault(room_of(name), set()).update(targets - {room_of(name)})
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(reversed(error.args[1])))
