"""A trial's spec: one that cannot run cannot be made, and its record needs none of the user's code."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mica.errors import DataError, UserError
from mica.sweep.store.stored import Stored
from mica.trial import Record, TrialSpec, open_data, run
from mica.trial.run import load
from tests.trial.sample import DATA, tiny

SOURCE = '''
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from mica.data import datasets
from mica.data.dataset import digest_of
from mica.pruners import placing


def net(input_shape, classes, width: int = 16, act=nn.ReLU):
    Path(__file__).with_name("built").touch()
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), act(), nn.Linear(width, classes))


def shares(shapes, ratio, steepness: float = 1.0):
    return {name: 1 / ratio for name in shapes}


@placing()
def first(graph, budget, note: str = "none"):
    masks = {name: torch.zeros(shape, dtype=torch.bool) for name, shape in graph.shapes.items()}
    for name, mask in masks.items():
        mask.view(-1)[: budget[name]] = True
    return masks


def notes(file: str):
    """Made-up images; what a file says stands for their content."""
    source = datasets.get("synthetic")(size=8, channels=1, classes=4, train=60, test=20)
    return replace(source, name="notes", digest=digest_of("notes", Path(file).read_text()))
'''
MODULE = "trials_of_mine"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of the user's own, and a file of data."""
    from mica.pruners import pruners

    monkeypatch.setattr(pruners, "_entries", dict(pruners._entries))
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"{MODULE}.py").write_text(SOURCE)
    (tmp_path / "data.txt").write_text("as it was")
    yield tmp_path
    sys.modules.pop(MODULE, None)


def own(folder: Path, **changes: Any) -> TrialSpec:
    """A trial of which everything is the user's own."""
    data = {"name": f"{MODULE}:notes", "file": str(folder / "data.txt"), "title": "notes"}
    method = f"{MODULE}:first(note=UPPER)-{MODULE}:shares(steepness=2)"
    return tiny(
        **{"data": data, "model": {"name": f"{MODULE}:net", "width": 12}, "method": method, **changes}
    )


@pytest.mark.parametrize(("changes", "message"), [
    ({"data": "digit"}, "unknown data set 'digit': known are .*; did you mean 'digits'"),
    ({"data": "nowhere_of_mine:data"}, "'nowhere_of_mine:data' cannot be loaded: ModuleNotFoundError"),
    ({"data": {**DATA, "classes": 1}}, "synthetic: classes is 1; it must be at least 2"),
    ({"data": {**DATA, "size": "8"}}, "data set 'synthetic': size is '8'; allowed is a valid integer"),
    ({"model": {"name": "mlp", "hidden": "16"}}, "model 'mlp': hidden is '16'"),
    ({"method": "mica"}, "unknown method 'mica'"),
    ({"method": "rpi-erk", "budget": "corrected"}, "corrected goes with the pruner mica"),
    ({"budget": "real"}, "budget: found 'real'; should be 'nominal' or 'corrected'"),
    ({"log10_ratio": -0.1}, "log10_ratio: found -0.1; should be greater than or equal to 0"),
    ({"seed": -1}, "seed: found -1"), ({"seeds": 1}, "seeds: found 1; .*not permitted"),
])  # fmt: skip
def test_a_spec_that_cannot_run_cannot_be_made(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        tiny(**changes)
    assert re.search(message, str(error.value)) and "\n" not in str(error.value)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(UserError) as error:
        TrialSpec(
            data="digit", model="mpl", method="mica-ekr", log10_ratio=-1, seed=0, protocol={"epochs": 1}
        )
    lines = str(error.value).splitlines()
    expected = ["did you mean 'digits'", "did you mean 'mlp'", "did you mean 'erk'", "log10_ratio: found -1"]
    assert len(lines) == 4
    assert all(wanted in line for wanted, line in zip(expected, lines, strict=True))


def test_data_model_and_method_are_given_as_yaml_has_them_or_as_text() -> None:
    spelled = tiny(
        data="synthetic(size=8,channels=1,classes=4,train=60,test=20)",
        model="mlp(hidden=[16,16])",
        method="MiCA(node_counts=random)-ERK",
    )
    assert spelled == tiny() and spelled.key == tiny().key
    assert str(spelled) == "synthetic(channels=1,classes=4,size=8,test=20,train=60) mlp(hidden=16x16) " \
        "mica-erk 10^0.6 seed 0"  # fmt: skip
    assert TrialSpec(**dict(spelled)) == spelled


def test_a_spec_knows_the_digest_of_its_data() -> None:
    assert tiny().data_digest == open_data(tiny().data).digest
    assert tiny(data={**DATA, "train": 61}).data_digest != tiny().data_digest
    assert tiny(data={**DATA, "title": "made up"}).key == tiny().key


def test_the_user_s_own_names_take_part_with_the_digest_of_their_code(module: Path) -> None:
    spec = own(module)
    names = {f"{MODULE}:{name}" for name in ("notes", "net", "first", "shares")}
    assert set(spec.code) == names and len(set(spec.code.values())) == 1
    assert tiny().code == {}


def test_a_record_is_read_where_the_user_s_module_is_not(module: Path, tmp_path_factory) -> None:
    spec = own(module, budget="corrected", log10_ratio=0.9)
    record = run(spec, device="cpu")
    assert record.outcome in ("completed", "collapsed") and record.mask
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "record.json").write_text(record.model_dump_json())
    code = f"""
import importlib.util
assert importlib.util.find_spec({MODULE!r}) is None
from mica.trial import Record
text = open("record.json").read()
record = Record.model_validate_json(text)
assert record.model_dump_json() == text
print(record.spec.key, record.spec.method, record.spec, record.spec.code, sep="\\n")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=elsewhere, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [spec.key, spec.method.name, str(spec), str(spec.code)]


def test_a_record_goes_by_the_defaults_that_it_was_made_with(module: Path) -> None:
    """Were a default to change since, the old record keeps its key, and the same words make another trial."""
    text = run(own(module), device="cpu").model_dump_json()
    before = own(module)
    (module / f"{MODULE}.py").write_text(
        SOURCE.replace('note: str = "none"', 'note: str = "some", new: int = 1')
    )
    sys.modules.pop(MODULE)

    again = Record.model_validate_json(text).spec
    assert again == before and again.key == before.key
    assert own(module).key != before.key


def test_a_rerun_on_other_data_stops_before_anything_is_computed(module: Path) -> None:
    spec = own(module)
    record = Record.model_validate_json(run(spec, device="cpu").model_dump_json())
    (module / "built").unlink()
    (module / "data.txt").write_text("as it is now")
    for again in (spec, record.spec):
        with pytest.raises(DataError) as error:
            run(again, device="cpu")
        message = str(error.value)
        assert "data 'notes' is not what this trial was made for" in message
        assert spec.data_digest[:12] in message and open_data(spec.data).digest[:12] in message
    assert not (module / "built").exists()
    assert own(module).key != spec.key  # which is another trial
    (module / "data.txt").write_text("as it was")
    assert load(record.spec).classes == 4


def test_a_stored_record_keeps_its_trial_s_key() -> None:
    spec = tiny(method="rbpi-synflow(iterations=2)", protocol={"epochs": 0})
    record = run(spec, device="cpu")
    stored = Stored(spec.key, "tiny", Record.model_validate_json(record.model_dump_json()))
    assert stored.record.spec.key == stored.key
