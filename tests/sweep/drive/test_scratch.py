"""A driver's scratch folder: gone with it, however it ends."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mica.sweep.drive.scratch import scratch_folder

KILLED = """
import os, signal
from mica.sweep.drive.scratch import scratch_folder
with scratch_folder():
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_driver_left_is_removed_and_a_living_one_s_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = subprocess.run([sys.executable, "-c", KILLED], env={**os.environ, "TMPDIR": str(tmp_path)})
    assert code.returncode == -9
    (orphan,) = tmp_path.iterdir()
    new = tmp_path / "mica-scratch-new"
    new.mkdir()
    with scratch_folder() as first, scratch_folder() as second:
        assert not orphan.exists()
        assert {Path(first), Path(second), new} == set(tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == [new], "another driver may just be making it"
