"""The user's own code: what is passed on to other machines, and where a traceback begins."""

import json
import sys
from pathlib import Path

import pytest

from mica.sweep.drive.user_code import modules_of, shortened_traceback
from tests.trial.sample import tiny

NETWORK = """
from torch import nn

def net(input_shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module and a package of two floors."""
    deep = tmp_path / "package_of_mine" / "deep"
    deep.mkdir(parents=True)
    for file in (tmp_path / "module_of_mine.py", deep / "nets.py", deep / "__init__.py"):
        file.write_text(NETWORK)
    (deep.parent / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if "_of_mine" in name]:
        del sys.modules[name]


@pytest.mark.parametrize(("model", "place"), [
    ("module_of_mine:net", "module_of_mine.py"),
    ("package_of_mine.deep.nets:net", "package_of_mine"),
    ("package_of_mine.deep:net", "package_of_mine"),
])  # fmt: skip
def test_a_module_s_file_or_the_whole_package(folder: Path, model: str, place: str) -> None:
    assert modules_of([tiny(), tiny(model=model), tiny(model=model, seed=1)]) == [str(folder / place)]


@pytest.mark.parametrize("model", ["mlp", "torch.nn:Identity"])
def test_what_every_machine_has_stays(model: str) -> None:
    assert modules_of([tiny(model=model)]) == []


def test_a_traceback_begins_at_the_user_s_own_code() -> None:
    def users_own() -> None:
        json.loads("{")

    try:
        exec("run()", {"run": users_own})  # no file of anybody's
    except ValueError as error:
        lines = shortened_traceback(error).splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert __file__ in lines[1] and "test_a_traceback" in lines[1]
    assert "json/decoder.py" in "\n".join(lines), "what the user's code called stays"
    assert lines[-1].startswith("json.decoder.JSONDecodeError")


def test_without_such_code_it_stays_whole() -> None:
    from mica.masks import Masks

    caught: list[Exception] = []
    try:
        Masks.load(Path("nosuch.npz"))
    except OSError as error:
        assert error.__traceback__ is not None
        caught.append(error.with_traceback(error.__traceback__.tb_next))  # without this file's own frame
    assert "mica/masks.py" in shortened_traceback(caught[0]).splitlines()[1]
