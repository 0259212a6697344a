"""Compiled loops take as many threads as torch may, and leave torch its number."""

import subprocess
import sys

import pytest

_WORK = {
    "masks": """
model = mica.models.build("vgg11", input_shape=(3, 32, 32), classes=10, seed=0)
mica.sparsify(model, "rbpi-synflow", ratio=1000, seed=0, input_shape=(3, 32, 32))
""",
    "training": """
from tests.trial.sample import tiny
assert mica.trial.run(tiny(model="vgg11", data="digits", log10_ratio=3.5)).provenance.threads == 1
""",
    "trainings together": """
from mica.trial.run import run_together
from tests.trial.sample import tiny
run_together([tiny(model="vgg11", data="digits", log10_ratio=ratio) for ratio in (3.5, 3.6)])
""",
}
_PROGRAM = """
import numba, torch
import mica
torch.set_num_threads(1)
"""
_TOLD = """
print(torch.get_num_threads(), numba.get_num_threads())
"""


@pytest.mark.parametrize("work", _WORK)
def test_work_takes_no_more_threads_than_it_is_given(work: str) -> None:
    """In a process of its own: the pool of threads starts once, with as many as there are cores."""
    program = _PROGRAM + _WORK[work] + _TOLD
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["1", "1"]
