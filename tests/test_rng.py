"""Named random streams: the same again, independent of each other and of the global ones."""

import random

import numpy as np
import pytest
import torch

from mica import rng


def test_the_same_seed_and_name_give_the_same_numbers() -> None:
    one, other = rng.stream(3, "weights"), rng.stream(3, "weights")
    assert (one.random(1000) == other.random(1000)).all()


@pytest.mark.parametrize("other", [(4, "weights"), (3, "mask"), (3, "weights/0"), (3, "")])
def test_another_seed_or_name_gives_other_numbers(other: tuple[int, str]) -> None:
    one, two = rng.stream(3, "weights").random(4000), rng.stream(*other).random(4000)
    assert not (one == two).any()
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.06  # about 4 standard deviations


def test_the_numbers_of_a_stream_are_pinned() -> None:
    """Were they to change, the results of every trial would, and PROTOCOL_VERSION must rise with them."""
    assert rng.stream(0, "weights").integers(1000, size=6).tolist() == WEIGHTS_0
    assert rng.stream(1, "order/5").permutation(8).tolist() == ORDER_1_5
    with rng.torch_seeded(0, "weights"):
        assert (torch.rand(3) * 1000).int().tolist() == TORCH_0


WEIGHTS_0 = [669, 420, 755, 545, 220, 334]
ORDER_1_5 = [5, 3, 7, 0, 6, 2, 4, 1]
TORCH_0 = [547, 935, 692]


def test_drawing_a_stream_moves_no_global_one() -> None:
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    rng.stream(0, "mask").random(100)
    with rng.torch_seeded(0, "weights"):
        torch.rand(100)
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()
    assert torch.equal(torch.get_rng_state(), states[2])


def test_torch_seeded_does_not_depend_on_what_was_drawn_before() -> None:
    with rng.torch_seeded(0, "weights"):
        one = torch.rand(5)
    torch.rand(17)
    with rng.torch_seeded(0, "weights"):
        two = torch.rand(5)
    with rng.torch_seeded(1, "weights"):
        three = torch.rand(5)
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
