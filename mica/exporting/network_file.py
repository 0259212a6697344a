"""A small masked network as one safetensors file: of each layer its mask and the weights that it keeps.

The file's tensors:

- for a layer NAME `bits/NAME`, its mask's bits as numpy packs them, compressed by zlib, and `kept/NAME`, its
  kept weights in the mask's order;
- everything else in the state dict, under its name there;
- `channels/0`, `channels/1`, …, lists of positions in the full network.

The metadata's `mica` is JSON: `input_shape`; `layers`, of each the shape of its weight in the full network
and in this one; `places`, of each tensor the lists that say where its rows and columns lie in the full one.
"""

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from mica.compaction import Compact
from mica.compaction.places import Index
from mica.errors import UserError
from mica.graph.layers import LayerGraph, Shape
from mica.masks import Masks

NETWORK = "network.safetensors"
_METADATA = "mica"


@dataclass(frozen=True)
class StoredNetwork:
    """What such a file holds."""

    input_shape: Shape
    """Of one image."""
    full_shapes: Mapping[str, Shape]
    """Layer → shape of its weight in the full network."""
    masks: Masks
    """Of the small network."""
    state: Mapping[str, Tensor]
    """The small network's state dict; weights are zero where the masks are."""
    places: Mapping[str, Index]
    """Name in the state dict → its places in the full tensor of that name."""


def network_bytes(small: Compact, graph: LayerGraph) -> bytes:
    """The file's content, for a small network and the full one's graph."""
    state = dict(small.model.state_dict())
    tensors: dict[str, Tensor] = {}
    for name, mask in small.masks.items():
        bits = zlib.compress(np.packbits(mask.numpy()).tobytes())
        tensors[f"bits/{name}"] = torch.frombuffer(bytearray(bits), dtype=torch.uint8)
        tensors[f"kept/{name}"] = state.pop(_weight(name))[mask]
    tensors |= {name: value.contiguous() for name, value in state.items()}
    lists: dict[bytes, str] = {}
    places: dict[str, list[str]] = {}
    for name, index in small.places.items():
        places[name] = []
        for positions in index:
            same = positions.numpy().tobytes()
            if same not in lists:
                lists[same] = f"channels/{len(lists)}"
                tensors[lists[same]] = positions.to(torch.int32)
            places[name].append(lists[same])
    layers = {name: [graph.shapes[name], tuple(mask.shape)] for name, mask in small.masks.items()}
    about = {"input_shape": graph.input_shape, "layers": layers, "places": places}
    return safetensors.torch.save(tensors, {_METADATA: json.dumps(about)})


def read_network(file: Path) -> StoredNetwork:
    """What `network_bytes` put there; nothing in the file is executed.

    Raises:
        UserError: there is no such file, it is damaged, or nothing that mica wrote.
    """
    try:
        with safetensors.safe_open(file, "pt") as opened:
            about = json.loads((opened.metadata() or {})[_METADATA])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 — no mapping
        lists = {name: tensors.pop(name).long() for name in list(tensors) if name.startswith("channels/")}
        places = {name: tuple(lists[each] for each in index) for name, index in about["places"].items()}
        masks, weights = {}, {}
        for name, (_, shape) in about["layers"].items():
            bits = zlib.decompress(tensors.pop(f"bits/{name}").numpy())
            flat = np.unpackbits(np.frombuffer(bits, np.uint8), count=math.prod(shape))
            masks[name] = mask = torch.from_numpy(flat).bool().reshape(shape)
            kept = tensors.pop(f"kept/{name}")
            weights[_weight(name)] = kept.new_zeros(shape)
            weights[_weight(name)][mask] = kept
        shapes = {name: tuple(full) for name, (full, _) in about["layers"].items()}
    except FileNotFoundError as error:
        raise UserError(f"{file}: there is no such file; mica.export writes one") from error
    except (safetensors.SafetensorError, zlib.error, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"{file} is damaged, or not written by mica.export: {error}") from error
    return StoredNetwork(tuple(about["input_shape"]), shapes, Masks(masks), {**tensors, **weights}, places)


def _weight(layer: str) -> str:
    return f"{layer}.weight"
