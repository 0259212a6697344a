"""What a spread of small trials computes, to the last bit: `python -m tests.science > before.txt`.

Run it on two commits on one machine and compare the files: a line a trial, with its mask, its counts layer by
layer, its losses epoch by epoch and its results. A difference is a defect unless it is meant.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from itertools import product
from typing import Any

import torch

from mica.training.protocol import Protocol
from mica.trial import Record, TrialSpec, run

METHODS = (
    "dense", "rpi-erk", "rpi-igq", "rpi-uniform", "rpi-uniform-plus", "rpi-epl", "rpi-magnitude",
    "mica-erk", "mica-igq", "mica-snip", "mica-grasp", "mica-synflow",
    "rbpi-snip", "rbpi-grasp", "rbpi-synflow", "rbpi-magnitude", "snip-erk", "synflow-igq",
)  # fmt: skip
DATA = {"name": "synthetic", "size": 16, "train": 60, "test": 20}


def trials() -> Iterator[dict[str, Any]]:
    """Every method, budget, rounding, node count, form and precision, somewhere on five networks."""
    for model, method in product(("vgg11", "resnet20", "mlp"), METHODS):
        yield {"model": model, "method": method, "log10_ratio": 0.8 if model == "mlp" else 1.5}
    for model, method in product(("vgg16", "resnet32"), ("rpi-igq", "mica-igq", "rbpi-synflow", "mica-snip")):
        yield {"model": model, "method": method, "log10_ratio": 3.5 if model == "vgg16" else 2.0}
    for model, source in product(("vgg11", "resnet20"), ("erk", "igq", "snip", "grasp", "synflow")):
        yield {"model": model, "method": f"mica-{source}", "log10_ratio": 2.0, "budget": "corrected"}
    for method in ("rpi-igq", "mica-erk", "rbpi-snip", "mica-synflow"):
        yield {"model": "resnet20", "method": method, "log10_ratio": 1.7, "rounding": "exact"}
    for counts, method in product(("max", "min"), ("mica-igq", "mica-snip")):
        yield {"model": "vgg11", "method": method, "log10_ratio": 2.5, "node_counts": counts}
    for model, ratio in product(("vgg11", "resnet20"), (0.3, 1.0, 3.0)):
        # Dense, compact and edge by edge, as the masks come; and each as the whole network.
        for compact in (True, False):
            yield {"model": model, "method": "mica-igq", "log10_ratio": ratio, "compact": compact, "seed": 1}
        yield {"model": model, "method": "rpi-erk", "log10_ratio": ratio, "precision": "bf16"}
    for method in ("rbpi-snip", "rbpi-grasp"):
        yield {"model": "resnet20", "method": method, "log10_ratio": 1.0, "batch_norm": "train"}


def spec(cell: dict[str, Any]) -> TrialSpec:
    """The trial of a cell: two short epochs."""
    method = cell["method"]
    for option in ("node_counts", "batch_norm"):
        if option in cell:  # mica(node_counts=max)-igq, rbpi-snip(batch_norm=train)
            rule = "mica" if option == "node_counts" else method.removeprefix("rbpi-")
            method = method.replace(rule, f"{rule}({option}={cell[option]})", 1)
    return TrialSpec(
        data=DATA,
        model=cell["model"],
        method=method,
        log10_ratio=0.0 if method == "dense" else cell["log10_ratio"],
        seed=cell.get("seed", 0),
        budget=cell.get("budget", "nominal"),
        rounding=cell.get("rounding", "floor"),
        compact=cell.get("compact", True),
        protocol=Protocol(
            epochs=2, batch_size=16, lr=0.02, augment="crop-flip", precision=cell.get("precision", "fp32")
        ),
    )


def line(cell: dict[str, Any], record: Record) -> str:
    """A cell and all that its trial computed, floats by every bit; the layers as a digest."""
    assert record.mask is not None
    layers = sha256(repr([tuple(row.model_dump().values()) for row in record.layers]).encode()).hexdigest()
    mask = record.mask
    numbers = [
        mask.digest[:16], layers[:16], mask.edges_placed, mask.edges_functional, mask.functional_node_share,
        mask.flops_masked, mask.flops_compact,
    ]  # fmt: skip
    losses = [(row.train_loss, row.val_loss, row.test_loss, row.train_top1) for row in record.epochs]
    results = tuple(record.results.model_dump().values())
    name = " ".join(f"{key}={value}" for key, value in cell.items())
    return f"{name}: {record.outcome} {numbers} {losses} {results}"


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["MICA_CACHE"] = cache  # nothing from another commit
        for cell in trials():
            print(line(cell, run(spec(cell), device="cpu")), flush=True)
    print("done", file=sys.stderr)


if __name__ == "__main__":
    main()
