"""After `import mica`, `import torchvision` passes beside any torch; each case in a fresh process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def python(code: str, *, path: Path | None = None) -> str:
    """What a fresh interpreter prints: an import happens only once in a process."""
    places = [str(path), *sys.path] if path else sys.path
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("first", [
    "import mica; import torchvision",
    "import mica.trial; import torchvision",
    "import torch, mica; from torchvision.models import resnet18; import torchvision",
])  # fmt: skip
def test_after_mica_torchvision_is_there(first: str) -> None:
    code = f"""
{first}
import importlib.resources, torch
torchvision.datasets.CIFAR10
assert importlib.resources.files("torchvision").joinpath("__init__.py").is_file()
print(tuple(torchvision.models.resnet18().eval()(torch.zeros(1, 3, 32, 32)).shape))
"""
    assert python(code) == "(1, 1000)"


def test_an_import_that_failed_before_does_not_matter() -> None:
    code = """
try:
    import torchvision
except RuntimeError:
    pass
import mica
import torchvision
print(torchvision.datasets.CIFAR10.__name__)
"""
    assert python(code) == "CIFAR10"


def test_mica_itself_loads_neither_torch_nor_torchvision_and_looks_once() -> None:
    code = """
import importlib, sys
before = len(sys.meta_path)
import mica
importlib.reload(mica)
print(len(sys.meta_path) - before, {"torch", "torchvision"} & sys.modules.keys())
"""
    assert python(code) == "1 set()"


STANDS_IN = """
import sys
assert "here" not in globals(), "what the failed import left is gone"
here = True
import torchvision.part
import torch

{body}
"""


def stand_in(folder: Path, body: str) -> Path:
    """A package that is called torchvision."""
    (folder / "torchvision").mkdir()
    (folder / "torchvision/__init__.py").write_text(STANDS_IN.format(body=body))
    (folder / "torchvision/part.py").write_text("import sys; print('part', end=' ')")
    (folder / "torch.py").write_text("""
class library:
    @staticmethod
    def define(name, schema): print("declared", name, end=" ")
class ops:
    torchvision = ()
""")
    return folder


IMPORT = """
import sys, mica
try:
    import torchvision
    print("passed", type(torchvision.__spec__.loader).__name__, "torchvision.part" in sys.modules)
except Exception as error:
    print(error, "torchvision" in sys.modules)
"""


def test_where_torchvisions_library_fits_nothing_is_declared(tmp_path: Path) -> None:
    path = stand_in(tmp_path, "")
    assert python(IMPORT, path=path) == "part passed SourceFileLoader True"


def test_where_it_does_not_fit_all_of_it_is_loaded_afresh(tmp_path: Path) -> None:
    path = stand_in(
        tmp_path,
        """
if not hasattr(sys, "tried"):
    sys.tried = True
    raise RuntimeError("operator torchvision::nms does not exist")
""",
    )
    found = python(IMPORT, path=path)
    operators = "declared torchvision::nms declared torchvision::qnms"
    assert found == f"part {operators} part passed SourceFileLoader True"


@pytest.mark.parametrize("error", ["RuntimeError('something else')", "ImportError('something else')"])
def test_another_failure_of_the_import_is_passed_on(tmp_path: Path, error: str) -> None:
    path = stand_in(tmp_path, f"raise {error}")
    assert python(IMPORT, path=path) == "part something else False"


def test_without_torchvision_the_error_says_so() -> None:
    code = """
import sys, mica
sys.path[:] = [place for place in sys.path if "site-packages" not in place]
try:
    import torchvision
except ModuleNotFoundError as error:
    print(error)
"""
    assert python(code) == "No module named 'torchvision'"


def test_a_network_of_torchvisions_is_inspected_from_the_command_line() -> None:
    command = [sys.executable, "-m", "mica.cli", "inspect", "--model", "torchvision.models:resnet18"]
    options = ["--method", "mica-erk", "--log10-ratio", "2"]
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, env={**os.environ, "COLUMNS": "80"}
    )
    assert done.returncode == 0, done.stderr
    assert "layer4.1.conv2" in done.stdout and "111,715 functional" in done.stdout
