import os
import subprocess
import sys


def python(code: str) -> str:
    """What a fresh interpreter prints: an import happens only once in a process."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_torchvision_is_imported_beside_any_build_of_torch() -> None:
    code = """
from mica.torchvision_import import import_torchvision
torchvision = import_torchvision()
assert import_torchvision() is torchvision
import torch, torchvision.models
print(tuple(torchvision.models.resnet18().eval()(torch.zeros(1, 3, 32, 32)).shape))
"""
    assert python(code) == "(1, 1000)"


def test_an_import_that_failed_before_does_not_matter() -> None:
    code = """
try:
    import torchvision
except RuntimeError:
    pass
from mica.torchvision_import import import_torchvision
print(import_torchvision().datasets.CIFAR10.__name__)
"""
    assert python(code) == "CIFAR10"


def test_another_failure_of_the_import_is_passed_on() -> None:
    code = """
import importlib
from mica.torchvision_import import import_torchvision
def fail(name): raise RuntimeError("something else")
importlib.import_module = fail
try:
    import_torchvision()
except RuntimeError as error:
    print(error)
"""
    assert python(code) == "something else"
