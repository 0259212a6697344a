"""Loss and accuracies over images: every one counts once, as it is, in eval mode."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mica.training.evaluation import evaluate
from tests.training.sample import image_set


class Fixed(nn.Module):
    """Logits that only depend on an image's first pixel; remembers what it was given."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table, self.norm, self.seen = table, nn.BatchNorm2d(2), []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        self.norm(x)
        return self.table[x[:, 0, 0, 0].round().long()]


def test_metrics_equal_those_computed_by_hand() -> None:
    images = image_set(1203, classes=10)  # more than two batches, the last one partial
    model = Fixed(torch.randn(256, 10, generator=torch.Generator().manual_seed(0)))
    found = evaluate(model, images)
    logits = model.table[images.pixels[:, 0, 0, 0].long()]
    ranks = (logits > logits.gather(1, images.labels[:, None])).sum(dim=1)
    assert abs(found.loss - F.cross_entropy(logits.double(), images.labels).item()) < 1e-5
    assert found.top1 == 100 * (ranks < 1).sum().item() / 1203
    assert found.top5 == 100 * (ranks < 5).sum().item() / 1203
    assert found.top1 < found.top5 < 100


def test_every_image_is_seen_once_as_it_is() -> None:
    images = image_set(503, classes=10)
    model = Fixed(torch.zeros(256, 10))
    evaluate(model, images)
    assert torch.equal(torch.cat(model.seen).round(), images.pixels.float())


def test_the_mode_is_eval_and_afterwards_what_it_was() -> None:
    for training in (True, False):
        model = Fixed(torch.zeros(256, 10)).train(training)
        evaluate(model, image_set(20, classes=10))
        assert model.training is training
        assert model.norm.num_batches_tracked == 0


def test_with_fewer_than_five_classes_all_are_among_the_first_five() -> None:
    assert evaluate(Fixed(torch.randn(256, 3)), image_set(30, classes=3)).top5 == 100


def test_a_loss_that_is_not_finite_shows() -> None:
    assert math.isnan(evaluate(Fixed(torch.full((256, 3), math.nan)), image_set(30, classes=3)).loss)
