"""The README's own code does what it says: each kind of rule in one file, used from YAML and `inspect`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text()


def block(language: str, holding: str) -> str:
    """The README's block of code in a language that holds some text."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)
    (found,) = (text for text in blocks if holding in text)
    return str(found)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a user would have copied: `mine.py`, and a sweep of what is in it."""
    place = tmp_path_factory.mktemp("user")
    (place / "mine.py").write_text(block("python", "@ranking"))
    rest = "name: mine\nseeds: [0]\nratios: [3]\nprotocol: {epochs: 1}\nmlflow: false\n"
    (place / "mine.yaml").write_text(block("yaml", "mine:stripes") + rest)
    return place


def mica_sweep(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "mica.cli", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_rules_of_ones_own_run_in_a_sweep(folder: Path) -> None:
    shown = mica_sweep(folder, "run", "mine.yaml", "--here")
    for method in ("mine:far_from_zero(power=3.0)-erk", "mine:heaviest-mine:root"):
        assert f"mine:stripes(size=16) mine:narrow(width=32) {method} 10^0.48 seed 0  completed" in shown
    assert "4/4" in shown


def test_rules_of_ones_own_are_inspected(folder: Path) -> None:
    model, method = "mine:narrow(width=8)", "mine:heaviest-mine:root(exponent=0.7)"
    assert "layer" in mica_sweep(folder, "inspect", "--model", model, "--method", method, "--ratio", "3")


def test_one_trial_in_one_process() -> None:
    """The example of the library."""
    found: dict[str, object] = {}
    exec(block("python", "record = run(spec)"), found)
    assert found["record"].outcome == "completed"  # type: ignore[attr-defined]
