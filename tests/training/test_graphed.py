"""Recorded steps give the numbers of eager ones; how a GPU records them cannot be seen on a CPU."""

import copy
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from mica.training.graphed import GraphedLearner, Step
from mica.training.learner import EagerLearner
from mica.training.optimiser import sgd
from mica.training.protocol import Protocol

SIZES = [8, 8, 3] * 6
"""Of the batches of six epochs, the last of each smaller."""
PROTOCOL = Protocol(lr=0.1, weight_decay=0.01)


@dataclass
class ByHand:
    """Records like a graph: what is replayed sees nothing but the places that it was recorded with."""

    able: bool = True
    recorded: list[Step] = field(default_factory=list)

    def run(self, step: Step) -> Tensor:
        return step()

    def record(self, step: Step) -> Step:
        if not self.able:
            raise RuntimeError("waits for the device\nand more")
        self.recorded.append(step)
        return step


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))


def trained(learner: GraphedLearner | EagerLearner) -> list[list[float]]:
    """The sums of every batch, at a rate that drops after half of them."""
    draw, found = torch.Generator().manual_seed(1), []
    for index, size in enumerate(SIZES):
        learner.rate = 0.1 if index < len(SIZES) / 2 else 0.02
        pixels = torch.randn(size, 1, 6, 6, generator=draw)
        found.append(learner(pixels, torch.randint(3, (size,), generator=draw)).tolist())
    return found


def graphed(model: nn.Module, recorder: ByHand) -> GraphedLearner:
    return GraphedLearner(EagerLearner(model, sgd(model, PROTOCOL, rate=torch.tensor(0.1))), recorder)


@pytest.mark.parametrize("able", [True, False])
def test_recorded_steps_are_the_eager_ones(able: bool, caplog: pytest.LogCaptureFixture) -> None:
    model, recorder = network(), ByHand(able)
    other = copy.deepcopy(model)
    expected = trained(EagerLearner(model, sgd(model, PROTOCOL)))
    assert trained(graphed(other, recorder)) == expected
    for one, its in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(one, its)
    assert len(recorder.recorded) == (2 if able else 0)  # one for each size
    assert [record.message for record in caplog.records] == (
        [] if able else ["steps run without a CUDA graph: waits for the device"]
    )


def test_the_rate_is_read_when_a_step_is_replayed() -> None:
    learner = graphed(network(), ByHand())
    learner.rate = 0.5
    assert learner.rate == 0.5
