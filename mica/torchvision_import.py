"""`import torchvision` beside a torch build that its compiled operators do not fit.

A registry's torchvision is compiled for the CUDA build of torch. Beside a CPU build its library of operators
cannot be loaded, and `import torchvision` then stops where it describes two of them to torch: `RuntimeError:
operator torchvision::nms does not exist`. Where that happens, these operators are declared, without an
implementation, and the import starts afresh. Data sets and models need none of them; detection, which does,
stays as unavailable as it was. Where torchvision's library fits, nothing is declared.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from importlib.abc import Loader  # slower to import than all of `mica`

_PACKAGE = "torchvision"


def install() -> None:
    """Have every later `import torchvision` in this process pass; loads neither torch nor torchvision."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds torchvision where the other finders do, and wraps its loader."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _PACKAGE:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = cast("Loader", _Loader(spec.loader))
                return spec
        return None


class _Loader:
    """torchvision's own loader, tried a second time with the operators declared."""

    def __init__(self, own: "Loader") -> None:
        self._own = own

    def __getattr__(self, name: str) -> object:
        """What `importlib.resources`, `inspect` and the like ask of a loader."""
        return getattr(self._own, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._own  # from here on all is as without us
        empty = dict(vars(module))
        try:
            self._own.exec_module(module)
            return
        except RuntimeError as error:
            if f"operator {_PACKAGE}::nms does not exist" not in str(error):
                raise
        # The failed import leaves half of its modules behind.
        for name in [name for name in sys.modules if name.startswith(f"{_PACKAGE}.")]:
            del sys.modules[name]
        vars(module).clear()
        vars(module).update(empty)
        _declare_operators()
        self._own.exec_module(module)


def _declare_operators() -> None:
    import torch

    for name in ("nms", "qnms"):
        torch.library.define(
            f"{_PACKAGE}::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
