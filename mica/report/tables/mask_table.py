"""One mask, layer by layer, for a terminal or a program."""

from collections.abc import Sequence
from math import log10
from typing import Any

from rich import box
from rich.table import Table

from mica.trial.record import LayerRow, MaskSummary
from mica.trial.single_mask import SingleMask
from mica.wording import counted

_COLUMNS = ("nodes_in", "nodes_out", "placed", "functional")
"""Without the budget, which is what is placed: narrow terminals have room for these."""


def mask_json(found: SingleMask) -> dict[str, Any]:
    """Everything about a mask; ratios and shares are null where nothing is functional."""
    remarks = list(found.remarks)
    return {
        **found.summary.model_dump(),
        "remarks": remarks,
        "layers": [row.model_dump() for row in found.layers],
    }


def mask_table(summary: MaskSummary, layers: Sequence[LayerRow]) -> Table:
    """A row a layer, and the mask in all below."""
    corrected = f"10^{log10(summary.corrected_ratio):.2f}" if summary.corrected_ratio else "∞ (collapsed)"
    if summary.log10_nominal is not None:
        corrected += f", nominal 10^{summary.log10_nominal:.2f}"
    share, reached = summary.functional_node_share, len(summary.outputs_reached or ())
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption=f"{summary.edges_total:,} edges dense, {summary.edges_placed:,} placed, "
        f"{summary.edges_functional:,} functional; corrected ratio {corrected}; functional nodes "
        + (f"{share:.1%}" if share is not None else "none reached")
        + f"; {counted(reached, 'output')} of {layers[-1].shape[0]} reached",
        caption_justify="left",
    )
    table.add_column("layer", overflow="fold")
    for name in ("shape", *_COLUMNS):
        table.add_column(name.replace("_", "\n"), justify="right", no_wrap=True)
    for row in layers:
        values = [f"{getattr(row, name):,}" for name in _COLUMNS]
        table.add_row(row.name, "×".join(map(str, row.shape)), *values)
    return table
