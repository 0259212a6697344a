"""A step in one call is what torch's autograd and SGD make of it."""

import copy

import pytest
import torch
from torch import Tensor, nn

import mica
from mica import models
from mica.edgewise import edgewise
from mica.edgewise.chain import Chain
from mica.edgewise.learning import ChainLearner
from mica.edgewise.program import Convolution, Mean
from mica.training.learner import EagerLearner

SHAPE = (3, 16, 16)


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize(("name", "method"), [
    ("vgg11", "mica-igq"), ("vgg11", "rpi-erk"), ("resnet20", "mica-igq"), ("resnet20", "rpi-igq"),
])  # fmt: skip
def test_ten_steps_in_a_row(name: str, method: str, nesterov: bool) -> None:
    model = models.build(name, input_shape=SHAPE, classes=10, seed=0).double()
    masks = mica.sparsify(model, method, 10**2.5, 0, input_shape=SHAPE)
    sparse = edgewise(mica.compact(model, masks, mica.trace(model, SHAPE)))
    assert sparse is not None and sparse.whole
    usual = copy.deepcopy(sparse.model).train()
    (chain,), (twin,) = sparse.chains, [m for m in usual.modules() if isinstance(m, Chain)]
    sgd = torch.optim.SGD(usual.parameters(), 0, 0.9, nesterov=nesterov, weight_decay=1e-3)
    velocity = torch.zeros_like(chain.values)
    eager = EagerLearner(usual, sgd)
    learner = ChainLearner(chain, velocity, momentum=0.9, weight_decay=1e-3, nesterov=nesterov)
    torch.manual_seed(0)
    for number in range(10):
        images, labels = torch.randn(16, *SHAPE, dtype=torch.float64), torch.randint(10, (16,))
        eager.rate = learner.rate = 0.01 / (1 + number)
        wanted = eager(images, labels)
        torch.testing.assert_close(learner(images, labels), wanted.double(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(chain.values, twin.values, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(velocity, sgd.state[twin.values]["momentum_buffer"], rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(chain.tracked, twin.tracked, rtol=1e-9, atol=1e-12)
    assert torch.equal(chain.batches, twin.batches)


def of_logits(logits: Tensor) -> ChainLearner:
    """Answers these (classes,) to any image."""
    conv = nn.Conv2d(1, len(logits), 1).double()
    conv.bias = nn.Parameter(logits)
    mask = torch.zeros(conv.weight.shape, dtype=torch.bool)
    chain = Chain([Convolution("conv", conv, mask), Mean((1,))])
    return ChainLearner(chain, torch.zeros_like(chain.values), momentum=0, weight_decay=0, nesterov=False)


@pytest.mark.parametrize(("label", "hits"), [(0, [1, 1]), (1, [0, 1]), (4, [0, 1]), (5, [0, 0]), (6, [0, 0])])
def test_of_equal_logits_the_lower_class_comes_first(label: int, hits: list[int]) -> None:
    learner = of_logits(torch.zeros(7, dtype=torch.float64))
    found = learner(torch.randn(1, 1, 4, 4, dtype=torch.float64), torch.tensor([label]))
    assert found.tolist() == [pytest.approx(torch.log(torch.tensor(7.0)).item()), *hits]


def test_the_loss_of_large_logits_is_finite_and_that_of_none_is_none() -> None:
    images, labels = torch.randn(1, 1, 4, 4, dtype=torch.float64), torch.tensor([1])
    large = of_logits(torch.tensor([2000.0, 0.0], dtype=torch.float64))
    assert large(images, labels)[0].item() == 2000
    assert of_logits(torch.tensor([torch.nan, 0.0], dtype=torch.float64))(images, labels)[0].isnan()
