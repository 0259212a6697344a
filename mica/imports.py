"""How two kinds of packages are imported in a process that has imported mica.

`torchvision` beside a torch build that its compiled operators do not fit: a registry's torchvision is
compiled for the CUDA build of torch. Beside a CPU build its library of operators cannot be loaded, and
`import torchvision` then stops where it describes two of them to torch: `RuntimeError: operator
torchvision::nms does not exist`. Where that happens, these operators are declared, without an implementation,
and the import starts afresh. Data sets and models need none of them; detection, which does, stays as
unavailable as it was. Where torchvision's library fits, nothing is declared.

Packages of very many modules, in processes of mica's own: Python looks for garbage hundreds of times while
they are loaded, through all of them again while the process lives, and once more at its end. That is two
fifths of the seconds that a command takes to begin, and what was loaded never becomes garbage.
"""

import gc
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from importlib.abc import Loader  # slower to import than all of `mica`


def install() -> None:
    """Have every later `import torchvision` in this process pass; loads neither torch nor torchvision."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def for_good() -> None:
    """In a process of mica's own: what large packages hold once they are loaded is never looked through."""
    _WAYS.update(dict.fromkeys(_LARGE, _frozen))


class _Finder:
    """Finds these packages where the other finders do, and wraps their loaders."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        way = _WAYS.get(fullname)
        if way is None:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = cast("Loader", _Loader(spec.loader, way))
                return spec
        return None


class _Loader:
    """A package's own loader, which is used in some way."""

    def __init__(self, own: "Loader", way: "_Way") -> None:
        self._own, self._way = own, way

    def __getattr__(self, name: str) -> object:
        """What `importlib.resources`, `inspect` and the like ask of a loader."""
        return getattr(self._own, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._own  # from here on all is as without us
        self._way(self._own, module)


_Way = Callable[["Loader", ModuleType], None]


def _declaring(loader: "Loader", module: ModuleType) -> None:
    """A second time, with the operators declared, where they are missing."""
    empty = dict(vars(module))
    try:
        loader.exec_module(module)
        return
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            raise
    # The failed import leaves half of its modules behind.
    for name in [name for name in sys.modules if name.startswith("torchvision.")]:
        del sys.modules[name]
    vars(module).clear()
    vars(module).update(empty)
    _declare_operators()
    loader.exec_module(module)


def _declare_operators() -> None:
    import torch

    for name in ("nms", "qnms"):
        torch.library.define(
            f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )


def _frozen(loader: "Loader", module: ModuleType) -> None:
    enabled = gc.isenabled()
    gc.disable()
    try:
        loader.exec_module(module)
        gc.freeze()
    finally:
        if enabled:
            gc.enable()


_LARGE = ("torch", "ray", "ray.tune", "mlflow", "pandas", "mica.trial")
_WAYS: dict[str, _Way] = {"torchvision": _declaring}
