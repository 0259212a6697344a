"""The Dockerfile's steps, one by one in a fresh virtual environment: no container runtime is to be had."""

import fnmatch
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.ray_nodes import ROOT

FOLDER = ROOT / "cluster/kubernetes"


def steps() -> list[tuple[str, str]]:
    """Instruction and argument of each step, its lines joined."""
    lines = [line for line in (FOLDER / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]  # type: ignore[misc]


def allowed(name: str) -> bool:
    """Whether .dockerignore lets a file of the root into the build; the last pattern that fits decides."""
    verdict = True
    for line in (FOLDER / "Dockerfile.dockerignore").read_text().split():
        if not line.startswith("#") and fnmatch.fnmatch(name, line.removeprefix("!")):
            verdict = line.startswith("!")
    return verdict


def test_the_steps_give_a_mica_that_runs(tmp_path: Path) -> None:
    source, home = tmp_path / "src", tmp_path / "home"
    for folder in (source, home):
        folder.mkdir()
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    environment = {
        "PATH": f"{tmp_path / 'env/bin'}:/usr/bin:/bin", "HOME": str(home), "TORCH_INDEX": "",
        **{name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "http"))},
    }  # fmt: skip
    done: list[str] = []
    for instruction, argument in steps():
        if instruction == "COPY":
            *names, target = argument.split()
            for name in names:
                assert allowed(name), f".dockerignore keeps {name} out"
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
                copy(ROOT / name, source / (name if target == "./" else target))
        elif instruction == "RUN" and "apt-get" not in argument:
            subprocess.run(["sh", "-ec", argument], cwd=source, env=environment, check=True, timeout=1200)
        done.append(instruction)
    assert {"FROM", "RUN", "COPY", "USER", "CMD"} <= set(done)
    inspect = "mica-sweep inspect --model vgg11 --method mica-igq --log10-ratio 3 --json"
    for command in ("mica-sweep --help", inspect, "ray --version"):
        subprocess.run(command.split(), cwd=tmp_path, env=environment, check=True, timeout=300)


def test_the_image_runs_as_nobody_special_and_is_pinned() -> None:
    found = dict(steps())
    assert found["USER"] == "1000:1000"
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", found["FROM"])
    assert found["ARG"] == 'TORCH_INDEX=""'
    assert all("-c constraints.txt" in step for name, step in steps() if "pip install" in step)
