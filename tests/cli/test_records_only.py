"""Reading results needs records only: the user's code may be gone, and so may the data."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from mica.sweep.results import open_records
from mica.sweep.store.records import Store
from tests.sweep.sample import stored, write

CODE = """
from pathlib import Path

from torch import nn

from mica.data import DataSource, datasets
from mica.pruners import placing
from mica.pruners.random import random

Path(__file__).with_name("imported").touch()

def net(input_shape, classes, width=16):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, classes))

@placing()
def mine(graph, budget, rng, weights, alpha=1.0):
    return random.place(graph, budget, rng)

def shares(shapes, ratio, beta=1):
    return {name: 1 / ratio for name in shapes}

def images():
    return datasets.get("synthetic")(size=8, channels=1, classes=4, train=60, test=20)
"""
SWEEP = {
    "data": "gone_of_mine:images",
    "models": "{name: 'gone_of_mine:net', width: 12, title: Mine}",
    "methods": "['gone_of_mine:mine(alpha=2.0)-gone_of_mine:shares(beta=3)', mica-erk]",
    "ratios": "[4]",
    "seeds": "[0]",
}


def shell(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a fresh process, which has imported nothing."""
    command = [sys.executable, "-m", "mica.cli", *arguments]
    paths = os.pathsep.join(path for path in sys.path if path)
    env = {**os.environ, "PYTHONPATH": paths, "COLUMNS": "120"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished sweep of a module of the user's own."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "gone_of_mine.py").write_text(CODE)
    write(folder, **SWEEP)
    made = """
from pathlib import Path
from mica.sweep.store.stored import Stored
from mica.sweep.sweep import open_sweep
from mica.trial import run
sweep = open_sweep(Path("sweep.yaml"))
for key, trial in sweep.grid.trials.items():
    sweep.store.put(Stored(key, "tiny", run(trial)))
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), str(folder)])}
    subprocess.run([sys.executable, "-c", made], cwd=folder, env=env, check=True)
    (folder / "imported").unlink()
    return folder


@pytest.fixture
def sweep(finished: Path, tmp_path: Path) -> None:
    """A copy of it, in the test's own folder."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)


def gone(folder: Path) -> None:
    (folder / "gone_of_mine.py").unlink()


def test_a_folder_is_read_without_any_of_the_user_s_code(tmp_path: Path, sweep: None) -> None:
    for command in ("report", "collect"):
        done = shell(tmp_path, command, "results/tiny")
        assert (done.returncode, done.stderr) == (0, ""), command
    assert not (tmp_path / "imported").exists(), "the module is there, and yet nobody imports it"
    gone(tmp_path)
    done = shell(tmp_path, "report", "results/tiny")
    assert (done.returncode, done.stderr) == (0, "")
    assert "mine(alpha=2.0)-" in done.stdout and "Mine" in done.stdout
    trials = pd.read_parquet(tmp_path / "results/tiny/tables/trials.parquet")
    assert set(trials["pruner"]) == {"mica", "gone_of_mine:mine"}
    assert set(trials["pruner_options"]) == {"", "alpha=2.0"}


def test_a_sweep_file_of_code_that_is_gone_shows_all_records_and_says_why(
    tmp_path: Path, sweep: None
) -> None:
    gone(tmp_path)
    for command in ("report", "collect"):
        done = shell(tmp_path, command, "sweep.yaml")
        assert done.returncode == 0, done.stderr
        (line,) = done.stderr.splitlines()
        assert "sweep.yaml:" in line and "'gone_of_mine:images' cannot be loaded: ModuleNotFoundError" in line
        assert line.endswith(f"(and 2 more); so these are all 2 records of {tmp_path}/results/tiny")
    assert "accuracy-" in shell(tmp_path, "report", "sweep.yaml").stdout
    assert shell(tmp_path, "plan", "sweep.yaml").returncode == 2, "what is missing nobody knows"


def test_so_does_one_whose_function_takes_other_options_now(tmp_path: Path, sweep: None) -> None:
    code = tmp_path / "gone_of_mine.py"
    code.write_text(CODE.replace("width=16", "size=16").replace("width", "size"))
    done = shell(tmp_path, "report", "sweep.yaml")
    assert done.returncode == 0 and "has no option 'width'" in done.stderr


def test_a_mistake_of_another_kind_is_still_an_error(tmp_path: Path, sweep: None) -> None:
    gone(tmp_path)
    write(tmp_path, **SWEEP, rounding="up")
    done = shell(tmp_path, "report", "sweep.yaml")
    assert done.returncode == 2 and "rounding.0: found 'up'" in done.stderr


def test_data_may_be_gone_too(tmp_path: Path) -> None:
    path = write(tmp_path, data="{name: parquet, train: gone.parquet, test: gone.parquet}")
    Store(str(tmp_path / "results")).put(stored())
    found = open_records(path, str(tmp_path / "results"))
    assert list(found.entries) == [stored().key]
    assert found.note is not None and "gone.parquet: there is no such file" in found.note


def test_without_records_there_is_nothing_to_fall_back_to(tmp_path: Path) -> None:
    write(tmp_path, **SWEEP)
    done = shell(tmp_path, "report", "sweep.yaml")
    assert done.returncode == 2 and "cannot be loaded" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]
