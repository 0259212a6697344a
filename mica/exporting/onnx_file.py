"""A small network as an ONNX file, dense and in fp32, for runtimes that know nothing of masks."""

import copy
import warnings
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from mica.errors import UserError

ONNX = "model.onnx"
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def onnx_wanted(asked: bool | None) -> bool:
    """Whether to write ONNX; raises `UserError` where it is asked for and cannot be."""
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if asked and missing:
        raise UserError(
            f"ONNX needs {', '.join(missing)}, not installed here: pip install 'mica-sweep[onnx]'; without "
            "onnx=True the rest is written"
        )
    return not missing if asked is None else asked


def write_onnx(network: nn.Module, input_shape: tuple[int, ...], file: Path) -> None:
    """From `images` (N, *input_shape) to `logits` (N, classes), for any N."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch warns of its own innards
        torch.onnx.export(
            copy.deepcopy(network).float(),
            (torch.zeros(2, *input_shape),),
            file,
            input_names=["images"],
            output_names=["logits"],
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            verbose=False,
        )


def onnx_logits(file: Path, images: Tensor) -> Tensor:
    """float64 (N, classes); the first image goes alone, so that two sizes of batch are tried."""
    from onnxruntime import InferenceSession

    session = InferenceSession(file, providers=["CPUExecutionProvider"])
    parts = [part.float().numpy() for part in (images[:1], images[1:]) if len(part)]
    return torch.cat([torch.from_numpy(session.run(None, {"images": part})[0]) for part in parts]).double()
