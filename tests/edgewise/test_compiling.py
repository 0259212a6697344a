"""The kernels' numbers do not depend on which process came first on a machine."""

import os
import subprocess
import sys
from pathlib import Path

STEP = """
import hashlib
import torch
from torch import nn
from mica.edgewise.chain import Chain
from mica.edgewise.learning import ChainLearner
from mica.edgewise.program import Convolution, Mean, Sum

torch.set_num_threads(1)
torch.manual_seed(0)
conv = nn.Conv2d(16, 24, 3, padding=1, bias=False)
mask = torch.rand(conv.weight.shape) < 0.1
chain = Chain([Convolution("conv", conv, mask, "norm", nn.BatchNorm2d(24), True, 2), Sum(reads=(1, 1))])
x = torch.randn(16, 16, 16, 16, requires_grad=True)
out = chain(x)
out.backward(torch.randn_like(out))
head = nn.Conv2d(24, 10, 1)
last = Convolution("head", head, torch.ones(head.weight.shape) > 0, reads=(3,))
chain = Chain([*chain.program.operations, Mean((2,)), last])
learner = ChainLearner(chain, torch.zeros_like(chain.values), momentum=0.9, weight_decay=1e-4, nesterov=True)
learner.rate = 0.1
for _ in range(2):
    learner(x.detach(), torch.arange(16) % 10)
for found in (out, x.grad, chain.values):
    print(hashlib.sha256(found.detach().contiguous().numpy().tobytes()).hexdigest())
"""


def step(cache: Path) -> str:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", STEP], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_whoever_comes_first_computes_what_the_next_does(tmp_path: Path) -> None:
    first = step(tmp_path)
    assert any(tmp_path.rglob("*.float32")), "nothing was compiled apart"
    assert len(first.split()) == 3
    for name in ("forward", "backward", "_forward_piece", "_backward_piece"):
        versions = list(tmp_path.rglob(f"kernels.{name}-*.nbc"))
        assert len(versions) == 1, "each of them takes seconds to compile"
    assert step(tmp_path) == first
