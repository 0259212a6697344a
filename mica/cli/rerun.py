"""One trial again, in this process."""

from pathlib import Path

import torch
from rich.console import Console

from mica.sweep.store.stored import Stored
from mica.training.state import Epoch
from mica.trial import Record, TrialSpec, run


def print_rerun(
    found: tuple[str, TrialSpec, Stored | None],
    console: Console,
    *,
    device: str | None = None,
    keep: Path | None = None,
) -> None:
    """Run a trial in this process, an epoch a line, and compare it with its record."""
    key, spec, stored = found
    console.print(f"{key}\n{spec}", highlight=False)
    if keep is not None:
        spec = spec.model_copy(update={"keep": "weights"})

    def on_epoch(epoch: Epoch) -> None:
        console.print(
            f"epoch {epoch.number}/{spec.protocol.epochs}: train loss {epoch.train.loss:.4f}, "
            f"val top-1 {epoch.val.top1:.2f} %, test top-1 {epoch.test.top1:.2f} % ({epoch.seconds:.1f} s)",
            highlight=False,
        )

    if stored is not None:  # sums over threads round differently
        torch.set_num_threads(stored.record.provenance.threads)
    record = run(spec, device=device, folder=keep, on_epoch=on_epoch)
    console.print(f"outcome: {record.outcome}", highlight=False)
    if stored is not None and stored.record.outcome != "failed":
        old = stored.record
        same = (_digest(record), record.results, record.epochs) == (_digest(old), old.results, old.epochs)
        where = f"run on {old.provenance.device} with {old.provenance.threads} threads"
        console.print(f"{'equal to' if same else 'differs from'} its record ({where})", highlight=False)


def _digest(record: Record) -> str | None:
    return record.mask.digest if record.mask else None
