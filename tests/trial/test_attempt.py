"""A trial that is stopped at any moment goes on to the record of one that was not."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mica.training.forms import Form, choice, enter
from mica.training.state import Epoch
from mica.trial import Record, TrialSpec, checkpoint, run
from mica.trial import attempt as attempts
from mica.trial.checkpoint import CHECKPOINT_VERSION, pack, unpack
from mica.trial.prepare import PreparedTrial, prepare
from mica.trial.run import load
from tests.training.test_forms import kind
from tests.trial.sample import Shelf, tiny, without_provenance

ROOT = Path(__file__).parents[2]
FEW = {"epochs": 2, "batch_size": 16, "train_size": 32, "val_size": 20, "test_size": 20}
FEW |= {"augment": "crop-flip"}
VGG = {"model": "vgg11", "method": "mica-igq", "log10_ratio": 3.5}
RESNET = {"model": "resnet20", "method": "rpi-erk", "log10_ratio": 2.0}
CASES: dict[str, dict[str, Any]] = {
    "mlp, compact": {"method": "rpi-erk", "log10_ratio": 2.0, "protocol": {**FEW, "epochs": 3}},
    "mlp, plain": {"method": "dense", "log10_ratio": 0.0},
    "mlp, plain, bfloat16": {"compact": False, "protocol": {**FEW, "precision": "bf16"}},
    "mlp, plain, no momentum": {"protocol": {**FEW, "momentum": 0.0}},
    "vgg11, edge by edge": VGG,
    "resnet20, edge by edge": RESNET,
    "resnet20, edge by edge, bfloat16": {**RESNET, "protocol": {**FEW, "precision": "bf16"}},
    "resnet20, compact": {**RESNET, "method": "mica-igq", "log10_ratio": 2.5},
    "resnet20, plain": {**RESNET, "compact": False},
}


def case(name: str) -> TrialSpec:
    return tiny(**{"data": "digits", "model": "mlp", "protocol": FEW, **CASES[name]})


def goes_on(spec: TrialSpec, keeper: Shelf, undisturbed: Record) -> Record:
    """The record of a trial that goes on, which must be that of the undisturbed one."""
    record = run(spec, keeper=keeper)
    assert without_provenance(record) == without_provenance(undisturbed)
    return record


class Stop(BaseException):
    """As a request to stop comes."""


def stopped(spec: TrialSpec, keeper: Shelf, step: int, stop: type[BaseException] = Stop) -> None:
    """Run a trial until a batch, counted from 1, training's and evaluation's alike."""
    steps = 0

    def on_step() -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            raise stop

    with pytest.raises(stop):
        run(spec, keeper=keeper, on_step=on_step)


@pytest.mark.parametrize("name", CASES)
def test_from_any_epoch_on_it_comes_to_the_same_record(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "compact" in name:
        monkeypatch.setattr(choice, "edgewise", lambda small: None)
    forms: list[Form] = []
    monkeypatch.setattr(
        attempts, "enter", lambda *a, **options: forms.append(enter(*a, **options)) or forms[-1]
    )
    spec, shelf = case(name), Shelf()
    undisturbed = run(spec, keeper=shelf)
    assert list(shelf.contents) == [f"{row.epoch:04}" for row in undisturbed.epochs]
    for epoch, content in shelf.contents.items():
        told: list[Epoch] = []
        record = run(spec, keeper=Shelf({epoch: content}), on_epoch=told.append)
        assert without_provenance(record) == without_provenance(undisturbed)
        assert [row.number for row in told] == list(range(int(epoch) + 1, len(undisturbed.epochs) + 1))
    assert all(kind(form) in name for form in forms) and len(forms) == 1 + len(undisturbed.epochs)


def test_making_checkpoints_changes_nothing(undisturbed: Record) -> None:
    assert undisturbed.provenance.hosts == undisturbed.provenance.remarks == ()
    assert without_provenance(run(tiny(), keeper=Shelf())) == without_provenance(undisturbed)


def test_it_goes_on_in_another_process(tmp_path: Path) -> None:
    data = {"name": "synthetic", "size": 16, "channels": 1, "classes": 4, "train": 60, "test": 20}
    spec, shelf = tiny(**RESNET, data=data, protocol={**FEW, "train_size": 32, "val_size": 12}), Shelf()
    undisturbed = run(spec, keeper=shelf)
    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    (tmp_path / "0001").write_bytes(shelf.contents["0001"])
    program = (
        "import sys, torch; from pathlib import Path; from mica.trial import TrialSpec, run\n"
        "from tests.trial.sample import Shelf\n"
        "torch.set_num_threads(1); folder = Path(sys.argv[1])\n"
        "spec = TrialSpec.model_validate_json((folder / 'spec.json').read_text())\n"
        "keeper = Shelf({'0001': (folder / '0001').read_bytes()})\n"
        "(folder / 'record.json').write_text(run(spec, keeper=keeper).model_dump_json())\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    record = Record.model_validate_json((tmp_path / "record.json").read_text())
    assert without_provenance(record) == without_provenance(undisturbed)
    assert record.provenance.remarks == ("went on after epoch 1, from checkpoint 0001",)


# -- when checkpoints are made -----------------------------------------------------------------

STEPS = 3 + 1 + 1
"""Batches of an epoch of the tiny trial: of its 48, 12 and 20 images, the last two in one."""


@pytest.mark.parametrize("stop", [Stop, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("step", [1, STEPS - 2, STEPS, STEPS + 1, 2 * STEPS, 2 * STEPS + 3, 3 * STEPS])
def test_what_stops_it_leaves_the_last_finished_epoch(step: int, stop: type[BaseException]) -> None:
    shelf = Shelf(every=1e9)
    stopped(tiny(), shelf, step, stop)
    done = (step - 1) // STEPS
    assert list(shelf.contents) == ([f"{done:04}"] if done else [])
    goes_on(tiny(), shelf, run(tiny()))


def test_one_that_is_stopped_again_and_again_comes_to_its_end() -> None:
    shelf = Shelf(every=1e9)
    for _ in range(2):
        stopped(tiny(), shelf, STEPS + 2)  # one epoch at a time
    assert list(shelf.contents) == ["0001", "0002"]
    for _ in range(2):
        stopped(tiny(), shelf, 2)
    assert list(shelf.contents) == ["0001", "0002"], "there is nothing new to save"
    record = goes_on(tiny(), shelf, run(tiny()))
    assert record.provenance.remarks == (
        "went on after epoch 1, from checkpoint 0001",
        "went on after epoch 2, from checkpoint 0002",
    )


def test_nothing_is_saved_twice() -> None:
    shelf = Shelf()
    stopped(tiny(), shelf, STEPS + 1)
    assert list(shelf.contents) == ["0001"]


def test_an_error_leaves_no_checkpoint() -> None:
    shelf = Shelf(every=1e9)
    stopped(tiny(), shelf, STEPS + 1, ValueError)
    assert not shelf.contents


def test_stopped_while_an_epoch_is_told_it_keeps_that_epoch() -> None:
    def on_epoch(epoch: Epoch) -> None:
        raise KeyboardInterrupt

    shelf = Shelf(every=1e9)
    with pytest.raises(KeyboardInterrupt):
        run(tiny(), keeper=shelf, on_epoch=on_epoch)
    assert list(shelf.contents) == ["0001"]


def test_checkpoints_are_as_far_apart_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def on_epoch(epoch: Epoch) -> None:
        nonlocal now
        now += 60

    monkeypatch.setattr(attempts.time, "monotonic", lambda: now)
    shelf = Shelf(every=120)
    run(tiny(protocol={"epochs": 8}), keeper=shelf, on_epoch=on_epoch)
    assert list(shelf.contents) == ["0003", "0005", "0007"]  # 120, 240 and 360 seconds after the start


def test_without_a_keeper_nothing_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Form, "hold", None)
    assert run(tiny()).outcome == "completed"


# -- what has ended ----------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"protocol": {"lr": 1e30, "epochs": 5}}])
def test_a_training_that_has_ended_is_recorded_at_once(changes: dict[str, Any], tmp_path: Path) -> None:
    spec, shelf = tiny(**changes, keep="weights"), Shelf()
    undisturbed = run(spec, keeper=shelf, folder=tmp_path / "once")
    assert undisturbed.outcome == ("diverged" if changes else "completed")
    told: list[Any] = []
    record = run(
        spec,
        keeper=Shelf(shelf.contents),
        folder=tmp_path / "again",
        on_epoch=told.append,
        on_step=lambda: told.append(1),
    )
    assert without_provenance(record) == without_provenance(undisturbed) and not told
    one, other = (load_file(tmp_path / part / "weights.safetensors") for part in ("once", "again"))
    assert all(value.equal(other[name]) or changes for name, value in one.items())


def test_what_is_not_trained_asks_for_no_checkpoint() -> None:
    class Unasked(Shelf):
        def found(self) -> Iterator[tuple[str, bytes]]:
            raise AssertionError

    assert run(tiny(method="rpi-erk", log10_ratio=3.0), keeper=Unasked()).outcome == "collapsed"
    assert run(tiny(protocol={"epochs": 0}), keeper=Unasked()).outcome == "completed"


# -- what is not sound -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def undisturbed() -> Record:
    return run(tiny())


@pytest.fixture(scope="module")
def contents() -> dict[str, bytes]:
    shelf = Shelf()
    run(tiny(), keeper=shelf)
    return shelf.contents


@pytest.fixture(scope="module")
def trial() -> PreparedTrial:
    return prepare(tiny(), load(tiny()), "cpu")


def damaged(content: bytes) -> bytes:
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


def of_another_version(content: bytes, trial: PreparedTrial) -> bytes:
    state = unpack(content, trial).state
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "CHECKPOINT_VERSION", CHECKPOINT_VERSION + 1)
        return pack(trial, state)


def test_the_older_one_is_taken_in_place_of_one_that_is_not_sound(
    contents: dict[str, bytes], undisturbed: Record, trial: PreparedTrial
) -> None:
    other = Shelf()
    run(tiny(seed=1), keeper=other)
    unsound = {
        "damaged": damaged(contents["0003"]),
        "of another trial": other.contents["0003"],
        "of version": of_another_version(contents["0003"], trial),
    }
    for reason, content in unsound.items():
        shelf = Shelf({"0001": contents["0001"], "0003": content})
        record = goes_on(tiny(), shelf, undisturbed)
        assert shelf.refused.keys() == {"0003"} and shelf.refused["0003"].startswith(reason)
        aside, on = record.provenance.remarks
        assert aside == f"checkpoint 0003 was set aside: {shelf.refused['0003']}"
        assert on == "went on after epoch 1, from checkpoint 0001"


def test_where_none_is_sound_it_begins_again(contents: dict[str, bytes], undisturbed: Record) -> None:
    shelf = Shelf({name: content[:100] for name, content in contents.items()})
    told: list[Epoch] = []
    record = run(tiny(), keeper=shelf, on_epoch=told.append)
    assert without_provenance(record) == without_provenance(undisturbed) and len(told) == 3
    assert record.provenance.remarks == (
        *(f"checkpoint {name} was set aside: damaged" for name in ("0003", "0002", "0001")),
        "began again at epoch 1",
    )
    assert record.provenance.hosts == ()


def test_remarks_of_earlier_attempts_stay(contents: dict[str, bytes], undisturbed: Record) -> None:
    shelf = Shelf({"0001": contents["0001"], "0002": b""}, every=1e9)
    stopped(tiny(), shelf, STEPS + 1)
    record = goes_on(tiny(), shelf, undisturbed)
    assert record.provenance.remarks == (
        "checkpoint 0002 was set aside: damaged",
        "went on after epoch 1, from checkpoint 0001",
        "went on after epoch 2, from checkpoint 0002",
    )


def test_without_its_momentum_it_would_go_on_otherwise(
    contents: dict[str, bytes], undisturbed: Record, trial: PreparedTrial
) -> None:
    state = unpack(contents["0001"], trial).state
    assert state.momentum
    for momentum in ({}, {name: torch.zeros_like(value) for name, value in state.momentum.items()}):
        record = run(tiny(), keeper=Shelf({"0001": pack(trial, replace(state, momentum=momentum))}))
        assert without_provenance(record) != without_provenance(undisturbed)


# -- where -------------------------------------------------------------------------------------


def test_every_machine_is_listed_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    spec, shelf = tiny(protocol={"epochs": 6}), Shelf(every=1e9)
    undisturbed = run(spec)
    assert undisturbed.provenance.hosts == ()
    for host in ("a", "b", "b", "a"):
        monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
        stopped(spec, shelf, STEPS + 1)
    record = goes_on(spec, shelf, undisturbed)
    assert record.provenance.hosts == ("a", "b", "a") and record.provenance.host == "a"


def test_seconds_of_earlier_attempts_count(contents: dict[str, bytes], trial: PreparedTrial) -> None:
    state = unpack(contents["0002"], trial).state
    rows = tuple(replace(row, seconds=1000.0) for row in state.rows)
    record = run(tiny(), keeper=Shelf({"0002": pack(trial, replace(state, rows=rows))}))
    assert 2000 < record.provenance.seconds_train < 2100


@pytest.mark.parametrize("compact", [True, False])
def test_it_goes_on_in_another_form(compact: bool) -> None:
    """As on a machine that trains it in another way: rounding aside the numbers are the same."""
    changes = {"method": "rpi-erk", "log10_ratio": 1.0}
    shelf = Shelf()
    first = run(tiny(**changes, compact=compact), keeper=shelf)
    record = run(tiny(**changes, compact=not compact), keeper=Shelf({"0001": shelf.contents["0001"]}))
    assert record.mask == first.mask
    for one, other in zip(record.epochs, first.epochs, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-3)


# -- a storage's bad moments -------------------------------------------------------------------


class Broken(Shelf):
    """Whose storage fails at some things."""

    def __init__(self, *fails: str, contents: dict[str, bytes] | None = None) -> None:
        super().__init__(contents)
        self.fails = fails

    def found(self) -> Iterator[tuple[str, bytes]]:
        yield from super().found()
        if "found" in self.fails:
            raise OSError("no answer")

    def refuse(self, name: str, reason: str) -> None:
        if "refuse" in self.fails:
            raise OSError("read-only")
        super().refuse(name, reason)

    def save(self, epoch: int, content: bytes) -> None:
        if "save" in self.fails:
            raise OSError("disk full")
        super().save(epoch, content)


def test_a_save_that_fails_costs_a_warning(undisturbed: Record, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        record = run(tiny(), keeper=Broken("save"))
    assert without_provenance(record) == without_provenance(undisturbed)
    assert caplog.messages[0] == f"epoch 1 of {tiny()} has no checkpoint: disk full"
    with caplog.at_level(logging.WARNING):
        stopped(tiny(), Broken("save"), STEPS + 1)  # it is the stop that goes on, not the failure


def test_so_does_a_storage_that_cannot_be_read(
    contents: dict[str, bytes], undisturbed: Record, caplog: pytest.LogCaptureFixture
) -> None:
    record = run(tiny(), keeper=Broken("found", "refuse", contents={"0009": b""}))
    assert without_provenance(record) == without_provenance(undisturbed)
    assert record.provenance.remarks == (
        "checkpoint 0009 was set aside: damaged",
        "checkpoints could not be read: no answer",
        "began again at epoch 1",
    )
    assert "checkpoint 0009 cannot be set aside: read-only" in caplog.text
    assert Record.model_validate_json(record.model_dump_json()) == record
