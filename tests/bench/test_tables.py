"""A benchmark's tables: every figure whole on 80 columns."""

import io

import pytest
from rich.console import Console

from mica.bench.measurements import GpuUse, MaskRow, TrialsRow
from mica.bench.tables import gpu_share, tables
from tests.bench.test_forecast import MEASUREMENTS, step

WIDE = {"masked_dense_ms": (123456.7,), "spread": (1.234,), "limit_share": (1.081,), "loss_difference": 6e-7}
OWN = "package_of_mine.networks:one_of_a_very_long_name_that_fills_the_line"


@pytest.fixture(scope="module")
def printed() -> list[str]:
    gpu = GpuUse(busy=0.134, memory=0.0123)
    steps = (
        step("mica-igq", 4.5, 5.678, model="resnet110", gpu=gpu, **WIDE),
        step("dense", 0.0, 0.1, model=OWN, precision="bf16", gpu=gpu, **WIDE),
    )
    mask = MaskRow(
        model=OWN,
        method="rbpi-magnitude",
        log10_ratio=4.5,
        seconds=(1234.5678,),
        functional_seconds=(0.01234,),
    )
    trials = TrialsRow(trials=100_000, seconds=1200, driver_mb=400)
    measurements = MEASUREMENTS.model_copy(update={"steps": steps, "masks": (mask,), "trials": trials})
    console = Console(file=io.StringIO(), width=80)
    console.print(tables(measurements))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_nothing_is_cut(printed: list[str]) -> None:
    assert max(map(len, printed)) <= 80
    assert "…" not in "".join(printed)
    assert OWN in "".join(line.split("  ")[0].strip() for line in printed)


@pytest.mark.parametrize("row", [
    ["mica-igq", "10^4.5", "123,457", "5.68", "21,743×", "123%", "22,543", "108.1%", "6e-07"],
    ["dense", "bf16", "123,457", "0.10", "1,234,567×", "123%", "1,280,000", "108.1%", "6e-07"],
    ["mica-igq", "10^4.5", "13%", "1.2%", "0.1666"],
    ["rbpi-magnitude", "10^4.5", "1234.568", "0.012"],
])  # fmt: skip
def test_every_row_reads_as_one_line(printed: list[str], row: list[str]) -> None:
    assert row in [line.split() for line in printed]


def test_a_share_of_a_gpu_is_never_rounded_up() -> None:
    assert [gpu_share(trials) for trials in (1, 2, 3, 6, 7, 13)] == [
        "1", "0.5", "0.3333", "0.1666", "0.1428", "0.0769",
    ]  # fmt: skip
    assert all(int(1 / float(gpu_share(trials))) == trials for trials in range(1, 100))


def test_as_many_trials_share_a_gpu_as_memory_and_time_allow() -> None:
    assert GpuUse(busy=0.3, memory=0.01).packed == 3
    assert GpuUse(busy=None, memory=0.15).packed == 6
    assert GpuUse(busy=0.95, memory=0.01).packed == 1
