"""Export: a trained small network as files, each checked to answer like the masked network it came from."""

import copy
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from mica.compaction import Compact, compact
from mica.errors import UserError
from mica.graph.tracing import trace
from mica.masks import Masks, apply

WEIGHTS, MASKS, PLACES, ONNX = "weights.pt", "masks.npz", "places.pt", "model.onnx"
"""The files of an export."""

_ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
_EXACT = 1e-10
"""Allowed difference in float64, of the largest score: summing in another order costs some 1e-15."""
_ROUNDINGS = 20
"""Allowed difference in fp32, in units of the masked network's own rounding error in fp32.

A runtime that sums in another order or folds batch norm into weights costs some 1 to 2. A fixed number
would be too wide for some networks and too narrow for others: depth and batch norm magnify rounding.
"""


def export(
    model: nn.Module,
    masks: Masks,
    path: str | Path,
    *,
    input_shape: tuple[int, ...] = (3, 32, 32),
    images: Tensor | None = None,
    onnx: bool | None = None,
) -> dict[str, float]:
    """Write the small network that answers like `model` under `masks` in eval mode, into a new folder.

    - `weights.pt`: its state dict; `torch.load(weights_only=True)` reads it.
    - `masks.npz`: its masks; `mica.Masks.load` reads them.
    - `places.pt`: where its tensors lie in the full network's, for `mica.load_exported`.
    - `model.onnx`: fp32, from `images` (N, *input_shape) to `scores` (N, classes), for any N.

    The folder appears whole or not at all. `model` is left as it is.

    Args:
        images: (N, *input_shape), normalised as the network expects, on which to compare; standard normal
            noise by default.
        onnx: whether to write `model.onnx`; by default where the extra `mica-sweep[onnx]` is installed.

    Returns:
        For `weights.pt` (compared in float64) and `model.onnx` (fp32) the largest difference of a score from
        the masked network's in float64.

    Raises:
        TraceError: the network cannot be followed (`mica.trace`) or compacted (`mica.compact`).
        UserError: `path` holds something already, `onnx` asks for an extra that is not installed, or a score
            is not finite.
        RuntimeError: a file would answer otherwise; nothing is written.
    """
    path = Path(path)
    onnx = _onnx_wanted(onnx)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UserError(f"{path} exists already; an export is written into a new or empty folder")
    if images is None:
        images = torch.randn(8, *input_shape, generator=torch.Generator().manual_seed(0))
    # `apply` hangs on gradients, which a frozen network has none of.
    full, masks = copy.deepcopy(model).cpu().eval().requires_grad_(True), masks.to("cpu")
    apply(full, masks)
    small = compact(full, masks, trace(full, input_shape))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as unfinished:
        folder = Path(unfinished) / path.name
        folder.mkdir()
        torch.save(small.model.state_dict(), folder / WEIGHTS)
        small.masks.save(folder / MASKS)
        torch.save({"input_shape": tuple(input_shape), "places": dict(small.places)}, folder / PLACES)
        network = load_exported(folder, model).model
        if onnx:
            _write_onnx(copy.deepcopy(network).float(), input_shape, folder / ONNX)
        differences = _check(folder, full, network, images.cpu())
        folder.rename(path)
    return differences


def load_exported(path: str | Path, model: nn.Module) -> Compact:
    """The small network that `export` wrote, on the CPU, in eval mode, masks applied: it can be trained on.

    Args:
        path: the folder.
        model: any network of the full one's architecture; its weights do not matter and are left alone.

    Raises:
        UserError: `model` is of another architecture.
    """
    folder, full = Path(path), copy.deepcopy(model).cpu()
    layout = torch.load(folder / PLACES, weights_only=True)
    weights = torch.load(folder / WEIGHTS, weights_only=True)
    written, state = Compact(full, Masks.load(folder / MASKS), layout["places"]), full.state_dict()
    try:
        kept = {f"{name}.weight": mask for name, mask in written.masks.items()}
        edges = {name: torch.zeros_like(state[name], dtype=torch.bool) for name in kept}
        written.scatter(kept, edges)
        for name in weights:
            # A channel that was dropped must not look as if it had a shift of its own, or it would stay.
            state[name].zero_()
        written.scatter(weights, state)
        masks = Masks({name.removesuffix(".weight"): mask for name, mask in edges.items()})
        small = compact(full, masks, trace(full, layout["input_shape"]))
        small.model.load_state_dict(weights)  # the same channels, or this raises
    except (KeyError, IndexError, RuntimeError) as error:
        raise UserError(f"{folder} was exported from a network of another architecture: {error}") from error
    small.model.eval()
    apply(small.model, small.masks)
    return small


def _onnx_wanted(asked: bool | None) -> bool:
    """Whether to write ONNX; raises `UserError` where it is asked for and cannot be."""
    missing = [name for name in _ONNX_PACKAGES if find_spec(name) is None]
    if asked and missing:
        raise UserError(
            f"ONNX needs {', '.join(missing)}, not installed here: pip install 'mica-sweep[onnx]'; without "
            "onnx=True the rest is written"
        )
    return not missing if asked is None else asked


def _check(folder: Path, full: nn.Module, network: nn.Module, images: Tensor) -> dict[str, float]:
    """File → largest difference of a score; raises where one answers otherwise than the full network."""
    rounded = _scores(copy.deepcopy(full).float(), images)
    exact = _scores(full.double(), images)
    if not rounded.isfinite().all():
        raise UserError("the masked network's scores are not finite; nothing is written")
    largest = float(exact.abs().max())
    rounding = float((rounded - exact).abs().max()) + torch.finfo(torch.float32).eps * largest
    answers = {WEIGHTS: (_scores(network.double(), images), _EXACT * largest)}
    if (folder / ONNX).exists():
        answers[ONNX] = _onnx_scores(folder / ONNX, images), _ROUNDINGS * rounding
    differences = {}
    for file, (scores, allowed) in answers.items():
        differences[file] = float((scores - exact).abs().max())
        if not differences[file] <= allowed:  # NaN included
            raise RuntimeError(
                f"{file} would not answer like the masked network: scores differ by {differences[file]:.3g}, "
                f"allowed are {allowed:.3g}; nothing is written"
            )
    return differences


def _scores(network: nn.Module, images: Tensor) -> Tensor:
    """float64 (N, classes), computed in the network's own precision."""
    dtype = next(network.parameters()).dtype
    with torch.no_grad():
        scores: Tensor = network(images.to(dtype, copy=True))  # a first ReLU may work in place
    return scores.double()


def _write_onnx(network: nn.Module, input_shape: tuple[int, ...], file: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch warns of its own innards
        torch.onnx.export(
            network,
            (torch.zeros(2, *input_shape),),
            file,
            input_names=["images"],
            output_names=["scores"],
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            verbose=False,
        )


def _onnx_scores(file: Path, images: Tensor) -> Tensor:
    """float64 (N, classes); the first image goes alone, so that two sizes of batch are tried."""
    from onnxruntime import InferenceSession

    session = InferenceSession(file, providers=["CPUExecutionProvider"])
    parts = [part.float().numpy() for part in (images[:1], images[1:]) if len(part)]
    return torch.cat([torch.from_numpy(session.run(None, {"images": part})[0]) for part in parts]).double()
