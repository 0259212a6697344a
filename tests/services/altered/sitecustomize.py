"""What is changed in mica's processes that a cluster starts: every Python imports this, where it finds it.

$STEP_SECONDS: every training step takes so much longer, so that something can happen meanwhile, and the
processor is free. $GPUS_MADE_UP: a node whose GPUs are only declared has some; what is placed there trains on
the CPU.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

Change = Callable[[Any], None]
SECONDS = float(os.environ.get("STEP_SECONDS", "0"))


def _slow(kind: str) -> Change:
    def change(module: Any) -> None:
        learner = getattr(module, kind)
        original = learner.__call__

        def call(self: Any, pixels: Any, labels: Any) -> Any:
            time.sleep(SECONDS)
            return original(self, pixels, labels)

        learner.__call__ = call

    return change


def _on_cpu(module: Any) -> None:
    module.device_of = lambda need: "cpu"


def _with_gpus(module: Any) -> None:
    module._gpus = lambda: (module.Gpu(name="made up", memory=2**37),) * 8


CHANGES: dict[str, Change] = {}
"""Module → what to do once it is loaded."""
if SECONDS:
    CHANGES["mica.edgewise.learning"] = _slow("ChainLearner")
    CHANGES["mica.training.learner"] = _slow("EagerLearner")
if "GPUS_MADE_UP" in os.environ:
    CHANGES["mica.sweep.drive.executor"] = _on_cpu
    CHANGES["mica.sweep.doctor.node"] = _with_gpus


class _Finder:
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        change = CHANGES.pop(name, None)
        found = find_spec(name) if change else None
        if change is None or found is None or found.loader is None:
            return None
        load = found.loader.exec_module

        def load_and_change(module: ModuleType) -> None:
            load(module)
            change(module)

        found.loader.exec_module = load_and_change  # type: ignore[method-assign]
        return found


sys.meta_path.insert(0, _Finder())
