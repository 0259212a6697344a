"""The environment in which mica's processes are as `sitecustomize.py` beside this file changes them."""

from pathlib import Path

from tests.ray_nodes import ROOT


def altered(*, step_seconds: float) -> dict[str, str]:
    return {"PYTHONPATH": f"{ROOT}:{Path(__file__).parent}", "STEP_SECONDS": str(step_seconds)}
