"""Hours to go, against answers worked out by hand."""

from pathlib import Path
from typing import Any

import pytest

from mica.bench.forecast import forecast
from mica.bench.measurements import MaskRow, Measurements, StepRow, save, saved
from mica.data import DataSource
from mica.sweep.results import Results
from mica.sweep.store.index import Index
from mica.sweep.store.records import Store
from mica.sweep.store.stored import Stored
from mica.trial import TrialSpec, open_data
from tests.sweep.sample import record
from tests.trial.sample import tiny


def step(method: str, log10_ratio: float, ms: float, **changes: Any) -> StepRow:
    fields = {
        "model": "mlp", "method": method, "log10_ratio": log10_ratio, "precision": "fp32", "batch_size": 128,
        "masked_dense_ms": (2000.0,), "mica_ms": (ms,), "spread": (0.1,), "limit_share": (0.5,),
        "loss_difference": 0.0,
    }  # fmt: skip
    return StepRow(**{**fields, **changes})


MEASUREMENTS = Measurements(
    device="cpu", host="here", threads=2, started="2026-01-02T03:04:05+00:00", versions={}, peak_gflops={},
    steps=(step("dense", 0.0, 1000.0), step("mica-igq", 2.0, 10.0)),
    masks=(
        MaskRow(
            model="mlp", method="mica-igq", log10_ratio=1.0, seconds=(3.0, 5.0), functional_seconds=(0, 0)
        ),
    ),
)  # fmt: skip


def results(
    trials: dict[str, TrialSpec],
    stored: dict[str, Stored] | None = None,
    sources: dict[str, DataSource] | None = None,
) -> Results:
    store = Store("no such folder")
    index = Index(store, trials)
    for item in (stored or {}).values():
        index.note(item)
    return Results(
        name="name", store=store, index=index, trials=trials, sources=sources or {}, mlflow=None,
        place=Path("sweep.yaml"),
    )  # fmt: skip


def trial(log10_ratio: float = 1.0) -> TrialSpec:
    sizes = {"epochs": 2, "batch_size": 128, "train_size": 300}
    return tiny(method="mica-erk", log10_ratio=log10_ratio, protocol=sizes)


def test_without_records_it_goes_by_the_benchmark() -> None:
    # Halfway between ratio 1 (1000 ms) and 10^2 (10 ms), on a log scale: 100 ms; 3 batches, 2 epochs, a fifth
    # more for evaluation; the mask takes 4 s.
    found = forecast(results({"a": trial(), "b": trial()}), MEASUREMENTS)
    assert found and found.hours * 3600 == pytest.approx(2 * (2 * 3 * 0.1 * 1.2 + 4))
    assert found.basis == "mica-sweep bench of 2026-01-02 on cpu"
    assert found.arithmetic * 3600 == pytest.approx(2 * 2 * 3 * 0.1 * 0.5)  # half of each step


def test_a_mask_of_other_options_takes_as_long_as_the_one_that_was_timed() -> None:
    other = tiny(
        method="mica(node_counts=max)-erk", log10_ratio=5.0, protocol={"epochs": 0, "train_size": 300}
    )
    found = forecast(results({"a": other}), MEASUREMENTS)
    assert found and found.hours * 3600 == pytest.approx(4)


def test_an_epoch_has_as_many_steps_as_the_data_set_has_images_for() -> None:
    spec = tiny(method="mica-erk", log10_ratio=1.0, protocol={"epochs": 2, "batch_size": 20})
    measured = MEASUREMENTS.model_copy(
        update={"steps": tuple(s.model_copy(update={"batch_size": 20}) for s in MEASUREMENTS.steps)}
    )
    sources = {spec.data.label: open_data(spec.data)}  # of 60 images 48 train: three batches
    found = forecast(results({"a": spec}, None, sources), measured)
    assert found and found.hours * 3600 == pytest.approx(2 * 3 * 0.1 * 1.2 + 4)


def test_beyond_what_was_timed_a_step_takes_as_long_as_the_nearest() -> None:
    found = forecast(results({"a": trial(5.0)}), MEASUREMENTS)
    assert found and found.hours * 3600 == pytest.approx(2 * 3 * 0.01 * 1.2 + 4)


def test_records_of_the_nearest_ratio_come_first() -> None:
    def done(key: str, spec: TrialSpec, seconds: float) -> Stored:
        made = record().model_copy(update={"spec": spec})
        where = made.provenance.model_copy(
            update={"seconds_data": 0.0, "seconds_mask": 1.0, "seconds_train": seconds}
        )
        return Stored(key, "", made.model_copy(update={"provenance": where}))

    ended = {"x": (trial(1.0), 9), "y": (trial(1.0), 19), "z": (trial(3.0), 99)}
    stored = {key: done(key, *how) for key, how in ended.items()}
    trials = {key: item.record.spec for key, item in stored.items()} | {"a": trial(1.5)}
    found = forecast(results(trials, stored), MEASUREMENTS)
    assert found and found.hours * 3600 == pytest.approx(15)
    assert found.basis == "the trials done"
    assert (
        forecast(results({key: trials[key] for key in stored}, stored), MEASUREMENTS) is None
    )  # nothing to go


def test_what_nobody_has_timed_is_not_guessed() -> None:
    assert forecast(results({"a": trial()}), None) is None
    other = MEASUREMENTS.model_copy(update={"steps": (step("dense", 0.0, 1.0, model="vgg16"),)})
    assert forecast(results({"a": trial()}), other) is None


def test_figures_are_kept_and_a_later_run_replaces_what_it_measured(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MICA_CACHE", str(tmp_path))
    assert saved() is None
    save(MEASUREMENTS)
    assert saved() == MEASUREMENTS
    save(MEASUREMENTS.model_copy(update={"steps": (step("mica-igq", 2.0, 7.0),), "masks": ()}))
    after = saved()
    assert after and [row.mica_ms for row in after.steps] == [(1000.0,), (7.0,)]
    assert after.masks == MEASUREMENTS.masks
    (tmp_path / "bench" / "measurements.json").write_text("{}")
    assert saved() is None
