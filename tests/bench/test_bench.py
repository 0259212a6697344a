"""The benchmark itself, run for real on a small network."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from mica.bench.measurements import Measurements
from mica.bench.trials import time_trials
from mica.cli.main import main
from tests.sweep.sample import write


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICA_CACHE", str(tmp_path / "cache"))


def bench(*options: str) -> str:
    before = torch.get_num_threads()
    result = CliRunner().invoke(main, ["bench", "--threads", "1", "--device", "cpu", *options])
    torch.set_num_threads(before)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_steps_and_masks_are_timed_and_a_plan_goes_by_them(tmp_path: Path) -> None:
    quick = ("--model", "mlp", "--seeds", "2", "--rounds", "1", "--trials", "0", "--ways", "--json")
    measurements = Measurements.model_validate_json(bench(*quick))
    assert measurements.threads == 1 and measurements.trials is None
    methods = {(row.method, row.log10_ratio, row.precision) for row in measurements.steps}
    assert {("dense", 0, "fp32"), ("dense", 0, "bf16"), ("mica-igq", 3, "fp32")} <= methods
    for row in measurements.steps:
        assert (
            len(row.mica_ms) == len(row.masked_dense_ms) == 2 and min(row.mica_ms + row.masked_dense_ms) > 0
        )
        assert row.loss_difference < (1e-5 if row.precision == "fp32" else 0.02)  # the same results
    assert {row.log10_ratio for row in measurements.ways} == {1, 2, 3}
    assert all({"plain", "compact", "by edges"} <= row.ms.keys() for row in measurements.ways)
    assert {row.method for row in measurements.masks} >= {"mica-igq", "rpi-igq", "rbpi-snip", "rbpi-synflow"}
    assert all(min(row.seconds) > 0 for row in measurements.masks)

    planned = CliRunner().invoke(main, ["plan", "--json", str(write(tmp_path))])
    plan = json.loads(planned.stdout)
    assert plan["hours_to_go"] > 0 and plan["hours_by"].startswith("mica-sweep bench of ")
    assert 0 < plan["hours_of_arithmetic"] < plan["hours_to_go"]
    shown = CliRunner().invoke(main, ["plan", str(write(tmp_path))])
    assert "of that is arithmetic at full speed, the rest launches and memory" in shown.stdout


def test_the_table_says_what_it_compares() -> None:
    shown = bench("--model", "mlp", "--seeds", "1", "--rounds", "1", "--no-masks", "--trials", "0")
    assert "One training step in ms" in shown and "mica-igq" in shown and "×" in shown


def test_an_unknown_network_is_wrong_use() -> None:
    result = CliRunner().invoke(main, ["bench", "--model", "vgg61"])
    assert result.exit_code == 2 and "vgg16" in result.stderr


def test_trials_that_do_nothing_run_through_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    row = time_trials(3)
    assert row.trials == 3 and row.seconds > 0 and row.driver_mb > 50
