"""Masks: which edges of a network are kept."""

import hashlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mica.files import write_file


class Masks(Mapping[str, Tensor]):
    """Layer name → bool tensor of the weight's shape; True keeps the edge.

    Raises:
        TypeError: an entry is not a bool tensor. Floats of 0 and 1 must be converted on purpose.
    """

    def __init__(self, masks: Mapping[str, Tensor]) -> None:
        for name, mask in masks.items():
            if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
                found = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
                raise TypeError(f"the mask of layer {name!r} must be a bool tensor, found {found}")
        self._masks = dict(masks)

    def __getitem__(self, name: str) -> Tensor:
        return self._masks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)

    def __repr__(self) -> str:
        return f"Masks({len(self)} layers, {self.kept:,} of {self.total:,} edges)"

    def counts(self) -> dict[str, int]:
        """Layer name → number of kept edges."""
        return {name: int(mask.count_nonzero()) for name, mask in self.items()}

    @property
    def kept(self) -> int:
        """Kept edges in all."""
        return sum(self.counts().values())

    @property
    def total(self) -> int:
        """All edges, kept or not."""
        return sum(mask.numel() for mask in self.values())

    @property
    def density(self) -> float:
        """Kept edges / all edges."""
        return self.kept / self.total

    @property
    def compression_ratio(self) -> float:
        """All edges / kept edges; infinite when nothing is kept."""
        return self.total / self.kept if self.kept else float("inf")

    def to(self, device: torch.device | str) -> "Masks":
        """The same masks on another device."""
        return Masks({name: mask.to(device) for name, mask in self.items()})

    def digest(self) -> str:
        """SHA-256 of names, shapes and bits: equal for equal masks, on any device."""
        sha = hashlib.sha256()
        for name, mask in self.items():
            sha.update(f"{name}{tuple(mask.shape)}".encode())
            sha.update(np.packbits(mask.cpu().numpy()).tobytes())
        return sha.hexdigest()

    def save(self, path: str | Path) -> None:
        """Write to a compressed `.npz` file, whole or not at all: a name's packed bits and its shape."""
        arrays: dict[str, np.ndarray] = {}
        for name, mask in self.items():
            arrays[f"bits/{name}"] = np.packbits(mask.cpu().numpy())
            arrays[f"shape/{name}"] = np.array(mask.shape)
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
        write_file(path, content.getvalue(), parents=False)  # a mistyped folder is an error

    @classmethod
    def load(cls, path: str | Path) -> "Masks":
        """Read what `save` wrote; nothing in the file is executed."""
        with np.load(path, allow_pickle=False) as arrays:
            names = [key.removeprefix("bits/") for key in arrays if key.startswith("bits/")]
            masks = {}
            for name in names:
                shape = tuple(arrays[f"shape/{name}"])
                bits = np.unpackbits(arrays[f"bits/{name}"], count=int(np.prod(shape)))
                masks[name] = torch.from_numpy(bits.astype(bool).reshape(shape))
        return cls(masks)


def apply(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Zero the pruned weights in place and keep them zero while the model trains.

    Each masked weight gets a gradient hook that multiplies by its mask, so that with any optimiser
    whose step is zero where gradient, state and weight are zero (SGD with momentum and weight decay,
    Adam) the network computes what `weight × mask` would. Hooks do not travel with `copy.deepcopy`
    or pickling: apply again after those.

    Raises:
        KeyError: a mask names a layer that the model lacks.
        ValueError: a mask's shape is not its weight's.
    """
    modules = dict(model.named_modules())
    for name, mask in masks.items():
        weight = modules[name].weight
        assert isinstance(weight, Tensor)
        if weight.shape != mask.shape:
            raise ValueError(f"layer {name!r}: mask {tuple(mask.shape)}, weight {tuple(weight.shape)}")
        factor = torch.empty_like(weight.detach()).copy_(mask)  # laid out as the gradient will be
        with torch.no_grad():
            # Not a multiplication: an infinite or NaN weight under the mask must go too.
            weight.masked_fill_(~mask.to(weight.device), 0)
        if weight.requires_grad:
            weight.register_hook(factor.mul)
