"""Write a trained small network into a folder, and read it back."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from mica.compaction import Compact, compact
from mica.errors import UserError
from mica.exporting.network_file import NETWORK, StoredNetwork, network_bytes, read_network
from mica.exporting.onnx_file import ONNX, onnx_logits, onnx_wanted, write_onnx
from mica.files import new_folder, write_file
from mica.graph.layers import LayerGraph
from mica.graph.tracing import given_graph, trace
from mica.masks import Masks, apply

_EXACT = 1e-10
"""Allowed difference in float64, of the largest logit: summing in another order costs some 1e-15."""
_ROUNDINGS = 20
"""Allowed difference in fp32, in units of the masked network's own rounding error in fp32.

A runtime that sums in another order or folds batch norm into weights costs some 1 to 2. A fixed number
would be too wide for some networks and too narrow for others: depth and batch norm magnify rounding.
"""


@dataclass(frozen=True)
class Exported:
    """What `export` wrote; as text, a line a file."""

    folder: Path
    sizes: Mapping[str, int]
    """File → its bytes."""
    differences: Mapping[str, float]
    """File → the largest difference of a logit from the masked network's in float64.

    `network.safetensors` is compared in float64, `model.onnx` in the fp32 that it computes in.
    """
    largest: float
    """The masked network's largest logit, likewise without its sign."""

    def __str__(self) -> str:
        return "\n".join(
            f"{self.folder / file}: {size:,} bytes; logits of up to {self.largest:.3g} differ by at most "
            f"{self.differences[file]:.1g}"
            for file, size in self.sizes.items()
        )


def export(
    model: nn.Module,
    masks: Masks,
    path: str | Path,
    *,
    graph: LayerGraph | None = None,
    input_shape: tuple[int, ...] | None = None,
    images: Tensor | None = None,
    onnx: bool | None = None,
) -> Exported:
    """Write the small network that answers like `model` under `masks` in eval mode, into a new folder.

    - `network.safetensors`: its masks, its kept weights and all else of its state (see
      `mica.exporting.network_file`); `mica.load_exported` reads it.
    - `model.onnx`: dense, fp32, from `images` `(N, *input_shape)` to `logits` (N, classes), for any N.

    The folder appears whole or not at all. `model` is left as it is.

    Args:
        graph: the network's, from `mica.trace`; or
        input_shape: of one image, to trace the network by.
        images: `(N, *input_shape)`, normalised as the network expects, on which to compare; standard normal
            noise by default.
        onnx: whether to write `model.onnx`; by default where the extra `mica-sweep[onnx]` is installed.

    Raises:
        TraceError: the network cannot be followed (`mica.trace`) or compacted (`mica.compact`).
        UserError: neither graph nor shape is given, `path` holds something already, `onnx` asks for an extra
            that is not installed, or a logit is not finite.
        RuntimeError: a file would answer otherwise; nothing is written.
    """
    path = Path(path)
    graph = given_graph("export", model, graph, input_shape)
    onnx = onnx_wanted(onnx)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UserError(f"{path} exists already; an export is written into a new or empty folder")
    if images is None:
        images = torch.randn(8, *graph.input_shape, generator=torch.Generator().manual_seed(0))
    full = _trainable_copy(model)
    apply(full, masks.to("cpu"))
    small = compact(full, masks.to("cpu"), graph)
    with new_folder(path) as folder:
        write_file(folder / NETWORK, network_bytes(small, graph))
        network = load_exported(folder, model)
        if onnx:
            write_onnx(network, graph.input_shape, folder / ONNX)
        differences, largest = _check(folder, full, network, images.cpu())
        sizes = {file: (folder / file).stat().st_size for file in differences}
    return Exported(path, sizes, differences, largest)


def load_exported(path: str | Path, model: nn.Module) -> nn.Module:
    """The small network that `export` wrote, on the CPU, in eval mode, masks applied: it can be trained on.

    Args:
        path: the folder.
        model: any network of the full one's architecture; its weights do not matter and are left alone.

    Raises:
        UserError: the folder holds no export, a damaged one, or one of another architecture than `model`.
    """
    file = Path(path, NETWORK)
    stored, full = read_network(file), _trainable_copy(model)
    try:
        small = _rebuilt(stored, full)
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        raise UserError(f"{file} was exported from a network of another architecture: {error}") from error
    small.model.eval()
    apply(small.model, small.masks)
    return small.model


def _rebuilt(stored: StoredNetwork, full: nn.Module) -> Compact:
    """The small network, cut out of a full one that is given its weights."""
    graph = trace(full, stored.input_shape)
    for name in (*stored.full_shapes, *graph.shapes):
        there, here = stored.full_shapes.get(name), graph.shapes.get(name)
        if there != here:
            raise ValueError(f"layer {name!r} has the weight shape {there} there and {here} here")
    written, state = Compact(full, stored.masks, stored.places), full.state_dict()
    kept = {f"{name}.weight": mask for name, mask in stored.masks.items()}
    edges = {name: torch.zeros_like(state[name], dtype=torch.bool) for name in kept}
    written.scatter(kept, edges)
    for name in stored.state:
        # A channel that was dropped must not look as if it had a shift of its own, or it would stay.
        state[name].zero_()
    written.scatter(stored.state, state)
    masks = Masks({name.removesuffix(".weight"): mask for name, mask in edges.items()})
    small = compact(full, masks, graph)
    small.model.load_state_dict(stored.state)  # the same channels, or this raises
    return small


def _trainable_copy(model: nn.Module) -> nn.Module:
    """On the CPU, in eval mode; `apply` hangs on gradients, which a frozen network has none of."""
    return copy.deepcopy(model).cpu().eval().requires_grad_(True)


def _check(
    folder: Path, full: nn.Module, network: nn.Module, images: Tensor
) -> tuple[dict[str, float], float]:
    """File → largest difference of a logit, and the largest logit of all.

    Raises where a file answers otherwise than the full network.
    """
    rounded = _logits(copy.deepcopy(full).float(), images)
    exact = _logits(full.double(), images)
    if not rounded.isfinite().all():
        raise UserError("the masked network's logits are not finite; nothing is written")
    largest = float(exact.abs().max())
    rounding = float((rounded - exact).abs().max()) + torch.finfo(torch.float32).eps * largest
    answers = {NETWORK: (_logits(network.double(), images), _EXACT * largest)}
    if (folder / ONNX).exists():
        answers[ONNX] = onnx_logits(folder / ONNX, images), _ROUNDINGS * rounding
    differences = {}
    for file, (logits, allowed) in answers.items():
        differences[file] = float((logits - exact).abs().max())
        if not differences[file] <= allowed:  # NaN included
            raise RuntimeError(
                f"{file} would not answer like the masked network: logits differ by {differences[file]:.3g}, "
                f"allowed are {allowed:.3g}; nothing is written"
            )
    return differences, largest


def _logits(network: nn.Module, images: Tensor) -> Tensor:
    """float64 (N, classes), computed in the network's own precision."""
    dtype = next(network.parameters()).dtype
    with torch.no_grad():
        logits: Tensor = network(images.to(dtype, copy=True))  # a first ReLU may work in place
    return logits.double()
