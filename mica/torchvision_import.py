"""Import torchvision beside a torch build that its compiled operators do not fit."""

import importlib
import sys
from types import ModuleType


def import_torchvision() -> ModuleType:
    """The torchvision module. Raises `ImportError` when it is not installed.

    A registry's torchvision is compiled for the CUDA build of torch. Beside a CPU build its library of
    operators cannot be loaded, and `import torchvision` then stops where it describes two of them to
    torch: `RuntimeError: operator torchvision::nms does not exist`. Declaring these operators first,
    without an implementation, lets the import pass. Data sets and models need none of them;
    detection, which does, stays as unavailable as it was.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    # The failed import leaves half of its modules behind; the second attempt starts afresh.
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    _declare_operators()
    return importlib.import_module("torchvision")


def _declare_operators() -> None:
    import torch

    for name in ("nms", "qnms"):
        torch.library.define(
            f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
