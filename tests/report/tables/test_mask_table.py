"""One mask's table: every figure whole on 80 columns, however long a layer's name."""

import io

from rich.console import Console

from mica.report.tables.mask_table import mask_table
from mica.trial.record import LayerRow
from tests.sweep.sample import record

NAME = "features.stages.number_three.blocks.number_two.second_convolution"


def test_nothing_is_cut_on_a_narrow_terminal() -> None:
    row = LayerRow(
        name=NAME, shape=(2048, 2048, 3, 3), edges=37_748_736, budget=12_345_678, nodes_in=18_432,
        nodes_out=2_048, placed=12_345_678, functional=12_345_677,
    )  # fmt: skip
    summary = record().mask
    assert summary is not None
    console = Console(file=io.StringIO(), width=80)
    console.print(mask_table(summary, [row]))
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    lines = printed.splitlines()
    assert max(map(len, lines)) <= 80 and "…" not in printed
    figures = ["2048×2048×3×3", "18,432", "2,048", "12,345,678", "12,345,677"]
    assert figures in [line.split()[1:] for line in lines]
    assert NAME in "".join(line[1:30].strip().split("  ")[0] for line in lines)
