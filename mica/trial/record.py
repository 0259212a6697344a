"""Record: what a finished trial leaves. Everything that tables, figures and MLflow show comes from it."""

import re
from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from mica.trial.spec import TrialSpec

Outcome = Literal["completed", "collapsed", "diverged", "failed"]
"""How a trial ended. Collapsed: no functional edge, not trained. Diverged: a loss was not finite."""

RECORD_VERSION = 6
"""Raised when a field is added or changes its meaning; readers refuse versions that they do not know."""

_PLACE = re.compile(r'^ *File "([^"<>]+)", line (\d+)', re.MULTILINE)
_INSTALLED = re.compile(r"[/\\](?:site-packages|dist-packages|python3\.\d+)[/\\]")
"""Files that hold nothing of a user's own."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Count = Annotated[int, Field(ge=0)]
Percent = Annotated[float, Field(ge=0, le=100)]
Seconds = Annotated[float, Field(ge=0)]


class LayerRow(_Part):
    """One prunable layer of a mask."""

    name: str = Field(description="The module's path in the network.")
    shape: tuple[int, ...] = Field(description="Of the weight.")
    edges: Count = Field(description="When dense.")
    budget: Count = Field(description="Edges that the distribution gave to the layer.")
    nodes_in: Count = Field(description="Input nodes (channel, kernel row, kernel column) with an edge kept.")
    nodes_out: Count = Field(description="Output channels with an edge kept.")
    placed: Count = Field(description="Edges kept.")
    functional: Count = Field(description="Edges kept that lie on a path from input to output.")


class EpochRow(_Part):
    """One epoch of training. Losses are mean cross-entropies in nats, null once not finite."""

    epoch: Count = Field(description="From 1.")
    lr: float = Field(description="Learning rate.")
    train_loss: float | None = Field(description="Mean over the epoch, while training, augmentation on.")
    train_top1: Percent = Field(description="Percent of the training images, likewise; top-1 hits.")
    train_top5: Percent = Field(description="Percent of the training images, likewise; top-5 hits.")
    val_loss: float | None = Field(description="After the epoch, over the validation images.")
    val_top1: Percent = Field(description="Percent, after the epoch.")
    val_top5: Percent = Field(description="Percent, after the epoch.")
    test_loss: float | None = Field(description="After the epoch, over the test images.")
    test_top1: Percent = Field(description="Percent, after the epoch.")
    test_top5: Percent = Field(description="Percent, after the epoch.")


class MaskSummary(_Part):
    """A mask in all."""

    edges_total: Count = Field(description="Edges of the dense network.")
    edges_budget: Count = Field(description="Edges that the distribution gave.")
    edges_placed: Count = Field(description="Edges kept.")
    edges_functional: Count = Field(description="Edges kept that lie on a path from input to output.")
    corrected_ratio: float | None = Field(description="Total / functional edges; null: none, infinite.")
    functional_node_share: float | None = Field(
        description="Of the input nodes that signal reaches, the share with a path to the output."
    )
    flops_dense: Count = Field(description="Of one image's forward pass, convolutions and linear layers.")
    flops_masked: Count = Field(description="Likewise, kept edges only.")
    flops_compact: Count | None = Field(
        description="Likewise, of the small dense network that compaction gives; null: it gives none."
    )
    digest: str = Field(description="SHA-256 of the mask's bits.")
    log10_nominal: float | None = Field(
        None, description="log10 of the nominal ratio, total / placed edges; null: nothing placed."
    )
    outputs_reached: tuple[int, ...] | None = Field(
        None, description="Outputs, which are classes, that a path leads to; null: not noted then."
    )


class Results(_Part):
    """Accuracies in percent; null where the mask collapsed or nothing was trained."""

    epochs: Count = Field(0, description="Epochs trained.")
    test_top1: Percent | None = Field(None, description="Percent, after the last epoch: the headline.")
    test_top5: Percent | None = Field(None, description="Percent, after the last epoch.")
    test_top1_at_best_val: Percent | None = Field(
        None, description="Percent, after the (first) epoch of the highest val_top1."
    )
    test_top1_max: Percent | None = Field(
        None, description="Percent, the highest of all epochs, as the paper's numbers are."
    )
    val_top1: Percent | None = Field(None, description="Percent, after the last epoch.")


class Provenance(_Part):
    """Where and how long. Two runs of one trial on one machine differ in this alone."""

    host: str = Field(description="Name of the machine.")
    hosts: tuple[str, ...] = Field(
        (), description="Every machine that trained it, in order, where a checkpoint was gone on from."
    )
    device: str = Field(description="Name of the GPU, or cpu.")
    log: str | None = Field(
        None, description="On that machine, the file that the process wrote to; null: a terminal, a pipe."
    )
    threads: int = Field(description="CPU threads of the process.")
    started: str = Field(description="UTC, ISO 8601.")
    seconds_data: Seconds = Field(description="Seconds to decode or fetch the data set.")
    seconds_mask: Seconds = Field(description="Seconds to build the mask, scores included.")
    seconds_train: Seconds = Field(description="Seconds to train and evaluate, in earlier attempts too.")
    versions: dict[str, str] = Field(description="Of mica, Python, torch and numpy.")
    remarks: tuple[str, ...] = Field((), description="What went wrong on the way and changed no number.")


class Record(_Part):
    """One finished trial."""

    version: int = RECORD_VERSION
    spec: TrialSpec
    outcome: Outcome
    mask: MaskSummary | None = Field(None, description="Null for a trial that failed before its mask.")
    moved: MaskSummary | None = Field(None, description="The mask after the last epoch, where masks move.")
    layers: tuple[LayerRow, ...] = ()
    results: Results = Results()
    epochs: tuple[EpochRow, ...] = ()
    error: str | None = Field(None, description="Of a failed trial: the traceback.")
    kept: str | None = Field(None, description="Folder below the storage with the files that it keeps.")
    provenance: Provenance

    @property
    def reason(self) -> str | None:
        """Why a trial failed: its traceback's last line, and where that was; None for one that did not."""
        if not self.error or not self.error.strip():
            return None
        last = self.error.strip().splitlines()[-1]
        places = [place for place in _PLACE.findall(self.error) if not _INSTALLED.search(place[0])]
        return f"{last} ({PurePath(places[-1][0]).name}:{places[-1][1]})" if places else last
