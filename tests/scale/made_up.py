"""A store of records that nobody trained, with keys and sizes as real ones have."""

import itertools
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from mica.sweep.store.layout import record_path
from mica.sweep.store.records import Store
from mica.sweep.store.segments import fold
from mica.sweep.store.stored import Stored, encode
from mica.sweep.sweep import open_sweep
from mica.trial import Record, TrialSpec
from mica.trial.record import EpochRow, LayerRow, MaskSummary, Outcome, Provenance, Results

GRID = Path(__file__).with_name("grid.yaml")

_BATCH = 1000
"""Records that a process makes and folds at a time."""
_OUTCOMES: tuple[Outcome, ...] = ("completed", "collapsed", "diverged")
_STATE = {
    "__pydantic_extra__": None,
    "__pydantic_fields_set__": set(EpochRow.model_fields),
    "__pydantic_private__": None,
}
_VERSIONS = {"mica": "0.1.0", "python": "3.11.9", "torch": "2.9.0", "numpy": "2.2.1", "numba": "0.61.0"}
_WIDTHS = {
    "vgg16": [3, 64, 64, *2 * [128], *3 * [256], *6 * [512]],
    "resnet20": [3, *7 * [16], *6 * [32], *6 * [64]],
}


def sweep_file(folder: Path, epochs: int) -> Path:
    """The sweep of `GRID` with this folder as its storage, in a file beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder.parent / f"{folder.name}.yaml"
    path.write_text(f"{GRID.read_text()}\nstorage: {folder}\nprotocol: {{epochs: {epochs}}}\n")
    return path


def make_store(sweep: Path, records: int) -> None:
    """Fill the sweep's folder with so many records, all of them folded; the sweep's own come first.

    The others are those of its cells with further seeds. Equal calls make equal records.
    """
    specs = itertools.islice(specs_of(sweep), records)
    folder = Path(open_sweep(sweep).store.place.address)
    batches = iter(lambda: list(itertools.islice(specs, _BATCH)), [])
    with ProcessPoolExecutor() as processes:
        for job in [processes.submit(_make_batch, folder, batch) for batch in batches]:
            job.result()


def specs_of(sweep: Path) -> Iterator[TrialSpec]:
    """The sweep's trials, then those of its cells with further seeds, without end."""
    trials = open_sweep(sweep).grid.trials.values()
    yield from trials
    cells = [trial for trial in trials if trial.seed == 0]
    for seed in itertools.count(max(trial.seed for trial in trials) + 1):
        yield from (cell.model_copy(update={"seed": seed}) for cell in cells)


def made_up(spec: TrialSpec) -> Stored:
    """A plausible record: most completed, a few collapsed or diverged."""
    key = spec.key
    random = np.random.default_rng(int(key[:16], 16))
    outcome = _OUTCOMES[random.choice(3, p=[0.97, 0.02, 0.01])]
    layers = _layers(spec, random)
    epochs = () if outcome == "collapsed" else _epochs(spec, random, diverged=outcome == "diverged")
    record = Record.model_construct(
        spec=spec,
        outcome=outcome,
        mask=_mask(layers, random, collapsed=outcome == "collapsed"),
        layers=layers,
        results=_results(epochs),
        epochs=epochs,
        provenance=_provenance(random),
    )
    return Stored(key, "scale", record)


def _make_batch(folder: Path, specs: Iterable[TrialSpec]) -> None:
    """Make them in a store of their own, for folding reads all names of one, and move them over."""
    with TemporaryDirectory(dir=folder, prefix="making-") as own:
        store = Store(own)
        for spec in specs:
            stored = made_up(spec)
            store.place.create(record_path(stored.name), encode(stored), durable=False)
        fold(store, at_least=1)
        for name in store.place.list(""):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.rename(f"{own}/{name}", folder / name)


def _layers(spec: TrialSpec, random: np.random.Generator) -> tuple[LayerRow, ...]:
    widths = _WIDTHS[spec.model.name]
    shapes: list[tuple[int, ...]] = [(out, into, 3, 3) for into, out in itertools.pairwise(widths)]
    shapes.append((spec.data.all_options["classes"], widths[-1]))
    edges = [int(np.prod(shape)) for shape in shapes]
    budgets = [int(count / spec.ratio) for count in edges]
    return tuple(
        LayerRow(
            name=f"features.{number}",
            shape=shape,
            edges=count,
            budget=budget,
            nodes_in=min(budget, count // shape[0]),
            nodes_out=min(budget, shape[0]),
            placed=budget,
            functional=int(budget * random.uniform(0.5, 1)),
        )
        for number, (shape, count, budget) in enumerate(zip(shapes, edges, budgets, strict=True))
    )


def _mask(layers: tuple[LayerRow, ...], random: np.random.Generator, *, collapsed: bool) -> MaskSummary:
    total, placed = sum(layer.edges for layer in layers), sum(layer.placed for layer in layers)
    functional = 0 if collapsed else sum(layer.functional for layer in layers)
    return MaskSummary(
        edges_total=total,
        edges_budget=placed,
        edges_placed=placed,
        edges_functional=functional,
        corrected_ratio=total / functional if functional else None,
        functional_node_share=random.uniform() if functional else 0.0,
        flops_dense=80 * total,
        flops_masked=80 * placed,
        flops_compact=100 * placed if functional else None,
        log10_nominal=float(random.uniform(0.5, 6)),
        outputs_reached=(0, 3),
        digest=random.bytes(32).hex(),
    )


def _epochs(spec: TrialSpec, random: np.random.Generator, *, diverged: bool) -> tuple[EpochRow, ...]:
    count = spec.protocol.epochs
    progress = 1 - np.exp(-np.arange(1, count + 1) / 20)
    loss = 4 - 3.5 * progress + random.uniform(0, 0.1, (3, count))
    top1 = 10 + 80 * progress + random.uniform(0, 3, (3, count))
    hits = np.floor(top1 * [[400], [100], [100]])  # of 40,000 training and 10,000 other images
    shares = hits / [[400], [100], [100]]
    top5 = np.minimum(100.0, shares + 8)
    columns: dict[str, Any] = {"epoch": range(1, count + 1), "lr": map(spec.protocol.lr_at, range(count))}
    for row, part in enumerate(("train", "val", "test")):
        columns |= {f"{part}_loss": loss[row].tolist()}
        columns |= {f"{part}_top1": shares[row].tolist(), f"{part}_top5": top5[row].tolist()}
    if diverged:
        columns["val_loss"][-1] = None
    return tuple(_row(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True))


def _row(values: dict[str, Any]) -> EpochRow:
    """As it comes out of a pickle: of millions the checks would cost minutes."""
    row = EpochRow.__new__(EpochRow)
    row.__setstate__({**_STATE, "__dict__": values})
    return row


def _results(epochs: tuple[EpochRow, ...]) -> Results:
    if not epochs:
        return Results()
    last, best = epochs[-1], max(epochs, key=lambda epoch: epoch.val_top1)
    return Results(
        epochs=len(epochs),
        test_top1=last.test_top1,
        test_top5=last.test_top5,
        test_top1_at_best_val=best.test_top1,
        test_top1_max=max(epoch.test_top1 for epoch in epochs),
        val_top1=last.val_top1,
    )


def _provenance(random: np.random.Generator) -> Provenance:
    seconds = random.uniform(1, 1000, 3).tolist()
    return Provenance(
        host=f"node{random.integers(40):02d}",
        device="NVIDIA A100-SXM4-40GB",
        threads=4,
        started=f"2026-01-{random.integers(1, 29):02d}T{random.integers(24):02d}:00:00+00:00",
        seconds_data=seconds[0],
        seconds_mask=seconds[1],
        seconds_train=seconds[2],
        versions=_VERSIONS,
    )
