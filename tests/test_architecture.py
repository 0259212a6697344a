"""The house (design, section 3): imports go down only, and the core knows no Ray, MLflow or YAML."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import mica

ROOT = Path(mica.__file__).parent

FLOORS = {
    0: ["__init__", "errors", "registry", "rng", "words", "graph", "masks", "apportionment", "cache",
        "torchvision_import"],
    1: ["tracing", "reachability", "distributions", "channels", "pruners", "models", "data"],
    2: ["methods", "pruning", "training", "compaction", "edgewise"],
    3: ["trial", "exporting"],
    4: ["sweep"],
    5: ["report", "bench"],
    6: ["cli"],
}  # fmt: skip
FLOOR = {f"mica.{name}": floor for floor, names in FLOORS.items() for name in names} | {"mica": 0}
CORE = 3
"""The highest floor that runs a trial in one process, with no Ray, MLflow, YAML or terminal."""

ONLY_HERE = {
    "ray": {"mica.sweep.ray_cluster", "mica.sweep.ray_driver", "mica.sweep.ray_watcher"},
    "mlflow": {"mica.sweep.tracking", "mica.sweep.mlflow_runs"},
    "yaml": {"mica.sweep.yaml_file"},
    "click": {"mica.cli", "mica.report.report"},
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


def floor_of(module: str) -> int:
    return FLOOR[".".join(module.split(".")[:2])]


def of_ours(name: str) -> list[Import]:
    return [item for item in imports(name) if item.target.split(".")[0] == "mica"]


def test_the_modules_are_found() -> None:
    assert {"mica", "mica.cli", "mica.data.cifar", "mica.trial.runner"} <= MODULES.keys()
    found = {item.target for item in imports("mica.trial.runner")}
    assert {"torch", "mica.trial.spec", "mica.models"} <= found
    assert not any(item.at_load for item in imports("mica.cli") if item.target.startswith("mica.sweep"))


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_a_floor(name: str) -> None:
    floor_of(name)  # a new module belongs into FLOORS, above all that it imports


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down_only(name: str) -> None:
    if name == "mica":  # the package's front door passes on what lies on every floor, on first use
        assert not any(item.at_load for item in of_ours(name))
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
