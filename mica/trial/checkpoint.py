"""A checkpoint: a training between two epochs, as bytes that hold only what the seed does not give."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from mica.compaction.places import Index, grid, kept_places, own_tensors
from mica.masks import Masks
from mica.training.evaluation import Metrics
from mica.training.state import Epoch, TrainState
from mica.trial.prepare import PreparedTrial

CHECKPOINT_VERSION = 1
"""Raised whenever what is written changes its meaning; other versions are refused."""

_HEAD, _DIGEST = "mica", "sha256"
"""The two entries of the file's metadata."""
_UNSIGNED = "0" * 64
_SIGNATURE = re.compile(rb'"sha256":"([0-9a-f]{64})"')
"""Within another string its quotes would be escaped."""


class BadCheckpoint(Exception):
    """Not a sound checkpoint of this trial; `reason` says why, in a few words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Where a training goes on."""

    state: TrainState
    hosts: tuple[str, ...]
    """Machines that have trained so far, in order."""
    remarks: tuple[str, ...]
    """What has gone wrong on the way so far."""


class _Head(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    version: int
    key: str
    code: dict[str, str]
    masks: str
    epoch: int
    rows: tuple[Annotated[tuple[float, ...], Field(min_length=11, max_length=11)], ...]
    hosts: tuple[str, ...]
    remarks: tuple[str, ...]


def pack(
    trial: PreparedTrial, state: TrainState, hosts: tuple[str, ...] = (), remarks: tuple[str, ...] = ()
) -> bytes:
    """A checkpoint of a state of this trial, as a safetensors file.

    It holds the values and momentum of kept edges in channels that are not droppable, all that those
    channels have besides, and in the metadata a JSON head and a SHA-256 of the whole file.
    """
    head = _Head(
        version=CHECKPOINT_VERSION,
        key=trial.spec.key,
        code=trial.spec.code,
        masks=trial.masks.digest(),
        epoch=state.epoch,
        rows=tuple(map(_numbers, state.rows)),
        hosts=hosts,
        remarks=remarks,
    )
    tensors = {}
    for name, place in _places(trial, state.masks):
        for kind, found in (("value", state.tensors), ("momentum", state.momentum)):
            if name in found:
                tensors[f"{kind}/{name}"] = place.take(found[name])
    if state.masks.digest() != trial.masks.digest():
        for name, mask in state.masks.items():
            tensors[f"kept/{name}"] = mask.flatten().nonzero().flatten()
    content = safetensors.torch.save(tensors, {_HEAD: head.model_dump_json(), _DIGEST: _UNSIGNED})
    return _signed(content)


def unpack(content: bytes, trial: PreparedTrial) -> Checkpoint:
    """What `pack` was given, rebuilt from the checkpoint and the trial's initial weights.

    Nothing in the content is executed. Raises `BadCheckpoint` for all but a sound checkpoint of this trial.
    """
    _check_signature(content)
    try:
        head, tensors = _head(content), safetensors.torch.load(content)
    except BadCheckpoint:
        raise
    except Exception as error:  # the digest was right, so somebody made it like this: it may be anything
        raise BadCheckpoint(f"not a checkpoint ({type(error).__name__})") from error
    _check_head(head, trial)
    return Checkpoint(
        state=_rebuilt(trial, tensors, tuple(map(_epoch, range(1, head.epoch + 1), head.rows))),
        hosts=head.hosts,
        remarks=head.remarks,
    )


@dataclass(frozen=True)
class _Place:
    """Which entries of a tensor of the full network a checkpoint holds."""

    index: Index
    """Of the channels that are not droppable; () for all."""
    kept: Tensor | None
    """Of those, the kept edges of a prunable weight (bool); None for another tensor."""

    def take(self, full: Tensor) -> Tensor:
        part = full[self.index]
        return part.contiguous() if self.kept is None else part[self.kept]

    def put(self, values: Tensor, full: Tensor) -> None:
        if self.kept is not None:
            part = full[self.index]
            part[self.kept] = values
            values = part
        full[self.index] = values


def _places(trial: PreparedTrial, masks: Masks) -> Iterator[tuple[str, _Place]]:
    """Of every tensor of a state, one of two names once.

    What is droppable is read off the network and its masks alone: it stays so while they stay (see `Form`).
    Where they move, what is droppable hangs on what was trained too, and of every channel all is held.
    """
    moves = trial.spec.protocol.moving is not None
    places = {} if moves else kept_places(trial.graph, trial.model, masks)
    weights = {f"{layer}.weight": mask.cpu() for layer, mask in masks.items()}
    saved = trial.model.state_dict().keys()  # a buffer that it leaves out is no part of a state
    for name in own_tensors(trial.model):
        if name in saved:
            index = grid(places.get(name, ()))
            yield name, _Place(index, weights[name][index] if name in weights else None)


def _rebuilt(trial: PreparedTrial, tensors: Mapping[str, Tensor], rows: tuple[Epoch, ...]) -> TrainState:
    masks, tensors = _moved(trial, tensors)
    state = TrainState.begin(trial.model, masks)
    momentum: dict[str, Tensor] = {}
    if any(name.startswith("momentum/") for name in tensors):
        names = dict(trial.model.named_parameters())
        momentum = {name: torch.zeros_like(state.tensors[name]) for name in names}
    wanted = set()
    for name, place in _places(trial, masks):
        for kind, full in (("value", state.tensors), ("momentum", momentum)):
            if name in full:
                wanted.add(f"{kind}/{name}")
                _put(tensors, f"{kind}/{name}", place, full[name])
    if unknown := tensors.keys() - wanted:
        raise BadCheckpoint(f"holds {min(unknown)!r}, which the network has not")
    return replace(state, momentum=momentum, rows=rows)


def _moved(trial: PreparedTrial, tensors: Mapping[str, Tensor]) -> tuple[Masks, dict[str, Tensor]]:
    """The masks that the state had, and the tensors that are left."""
    kept = {name: value for name, value in tensors.items() if name.startswith("kept/")}
    rest = {name: value for name, value in tensors.items() if name not in kept}
    if not kept:
        return trial.masks, rest
    masks = {}
    for name, mask in trial.masks.items():
        found = torch.zeros(mask.numel(), dtype=torch.bool)
        places = kept.pop(f"kept/{name}", None)
        if places is None or places.dtype != torch.int64 or len(places) != int(mask.sum()):
            raise BadCheckpoint(f"holds no mask of {name!r} with as many edges")
        if len(places) and not (int(places.min()) >= 0 and int(places.max()) < len(found)):
            raise BadCheckpoint(f"holds a mask of {name!r} that does not fit")
        found[places] = True
        masks[name] = found.view_as(mask)
    if kept or not trial.spec.protocol.moving:
        raise BadCheckpoint("holds masks that moved, which the trial's do not")
    return Masks(masks), rest


def _put(tensors: Mapping[str, Tensor], name: str, place: _Place, full: Tensor) -> None:
    if name not in tensors:
        raise BadCheckpoint(f"lacks {name!r}")
    found, there = tensors[name], place.take(full)
    if (found.shape, found.dtype) != (there.shape, there.dtype):
        raise BadCheckpoint(
            f"{name!r} is {found.dtype} {tuple(found.shape)}, not {there.dtype} {tuple(there.shape)}"
        )
    place.put(found, full)


def _signed(content: bytes) -> bytes:
    """The content with its digest in the place that was left for it."""
    start, end = _signature(content)
    return b"".join((content[:start], _sha256(content, start, end).encode(), content[end:]))


def _check_signature(content: bytes) -> None:
    start, end = _signature(content)
    if content[start:end] != _sha256(content, start, end).encode():
        raise BadCheckpoint("damaged")


def _signature(content: bytes) -> tuple[int, int]:
    """Where in the content its digest stands."""
    found = _SIGNATURE.search(content, 8, 8 + _head_length(content))
    if not found:
        raise BadCheckpoint("damaged")
    return found.span(1)


def _sha256(content: bytes, start: int, end: int) -> str:
    """Of the whole content, as if no digest stood in it."""
    sha, view = hashlib.sha256(), memoryview(content)
    for part in (view[:start], _UNSIGNED.encode(), view[end:]):
        sha.update(part)
    return sha.hexdigest()


def _head_length(content: bytes) -> int:
    return min(int.from_bytes(content[:8], "little"), len(content))


def _head(content: bytes) -> _Head:
    """Raises `BadCheckpoint` for a head of another version, and anything for what is none."""
    metadata = json.loads(content[8 : 8 + _head_length(content)])["__metadata__"]
    fields = json.loads(metadata[_HEAD])
    if fields["version"] != CHECKPOINT_VERSION:
        raise BadCheckpoint(f"of version {fields['version']!r:.20}, not {CHECKPOINT_VERSION}")
    return _Head.model_validate(fields)


def _check_head(head: _Head, trial: PreparedTrial) -> None:
    if head.key != trial.spec.key:
        raise BadCheckpoint(f"of another trial ({head.key:.12})")
    if head.code != trial.spec.code:
        raise BadCheckpoint("made with other code of the user's")
    if head.masks != trial.masks.digest():
        raise BadCheckpoint("made with another mask")  # scores may round otherwise on another machine
    if head.epoch != len(head.rows) or head.epoch > trial.spec.protocol.epochs:
        raise BadCheckpoint(f"of {head.epoch} epochs with {len(head.rows)} rows")


def _numbers(epoch: Epoch) -> tuple[float, ...]:
    """An epoch's row without names: with them 160 rows would be most of a small checkpoint."""
    parts = (epoch.train, epoch.val, epoch.test)
    return epoch.lr, epoch.seconds, *(n for part in parts for n in (part.loss, part.top1, part.top5))


def _epoch(number: int, row: tuple[float, ...]) -> Epoch:
    train, val, test = (Metrics(*row[start : start + 3]) for start in (2, 5, 8))
    return Epoch(number=number, lr=row[0], seconds=row[1], train=train, val=val, test=test)
