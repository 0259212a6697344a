"""`import mica` is quick: it loads neither Ray nor MLflow, nor what only sweeps need."""

import subprocess
import sys

import pytest

HEAVY = ("ray", "mlflow", "yaml", "pandas", "matplotlib")


def loaded_by(statement: str) -> set[str]:
    """The top-level packages that a fresh interpreter holds after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_mica_loads_not_even_torch() -> None:
    assert not loaded_by("import mica") & {"torch", *HEAVY}


def test_a_graph_is_read_without_torch() -> None:
    assert "torch" not in loaded_by("import mica.graph.layers")


def test_neither_pruning_nor_a_trial_loads_ray_or_mlflow() -> None:
    code = "from mica import apply, functional, sparsify, trace"
    found = loaded_by(f"{code}; from mica.trial import run; import mica.cli")
    assert "torch" in found  # or this test looks at nothing
    assert not found & set(HEAVY)


def test_planning_a_sweep_needs_no_ray() -> None:
    found = loaded_by("import mica.sweep.sweep, mica.sweep.results, mica.sweep.store.records")
    assert "yaml" in found  # or this test looks at nothing
    assert not found & {"ray", "mlflow"}


@pytest.mark.parametrize("own", ["cli.main", "sweep.drive", "sweep.track"])
def test_in_processes_of_mica_s_own_what_is_loaded_is_not_looked_through(own: str) -> None:
    code = "import gc, mica, {} mica.trial; print(gc.get_freeze_count(), gc.isenabled())"

    def frozen(statement: str) -> int:
        done = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True, check=True)
        count, enabled = done.stdout.split()
        assert enabled == "True"
        return int(count)

    assert frozen(code.format("")) < 10_000
    assert frozen(code.format(f"mica.{own},")) > 100_000


def test_every_public_name_is_there() -> None:
    import mica

    assert all(getattr(mica, name) is not None for name in mica.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = mica.nonsense
