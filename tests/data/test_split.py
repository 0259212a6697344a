from typing import Any

import numpy as np
import pytest

from mica.data import Dataset, scoring_images, split
from mica.errors import UserError


def dataset(train: int = 100, test: int = 40) -> Dataset:
    return Dataset(
        name="mine",
        classes=2,
        train_images=np.zeros((train, 1, 1, 1), np.uint8),
        train_labels=np.arange(train) % 2,
        test_images=np.zeros((test, 1, 1, 1), np.uint8),
        test_labels=np.arange(test) % 2,
        mean=(0.5,),
        std=(0.2,),
    )


def test_by_default_a_fifth_validates_and_all_test_images_test() -> None:
    parts = split(dataset(), 0)
    assert (len(parts.train), len(parts.val)) == (80, 20)
    assert sorted([*parts.train, *parts.val]) == list(range(100))
    assert parts.test.tolist() == list(range(40))
    assert {part.dtype for part in (parts.train, parts.val, parts.test)} == {np.dtype(np.int64)}


def test_the_seed_decides_who_trains_but_not_who_tests() -> None:
    first, again, other = (split(dataset(), seed, test_size=10) for seed in (0, 0, 1))
    assert np.array_equal(first.train, again.train)
    assert np.array_equal(first.val, again.val)
    assert not np.array_equal(first.train, other.train)
    assert np.array_equal(first.test, other.test)


def test_a_smaller_part_is_the_beginning_of_a_larger_one() -> None:
    whole, small = split(dataset(), 3), split(dataset(), 3, train_size=5, test_size=4)
    assert np.array_equal(small.train, whole.train[:5])
    assert np.array_equal(small.val, whole.val)
    larger = split(dataset(), 3, test_size=9)
    assert np.array_equal(small.test, larger.test[:4])
    assert len(set(larger.test.tolist())) == 9


def test_the_sizes_may_use_up_every_image() -> None:
    parts = split(dataset(), 0, train_size=70, val_size=30, test_size=40)
    assert sorted([*parts.train, *parts.val]) == list(range(100))
    assert sorted(parts.test) == list(range(40))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"val_size": 100}, "mine: val_size is 100; allowed are 1 to 99: of 100 training images"),
        ({"val_size": 0}, "val_size is 0; allowed are 1 to 99"),
        ({"train_size": 81}, "train_size is 81; allowed are 1 to 80: of 100 training images 20 validate"),
        ({"train_size": 0}, "train_size is 0; allowed are 1 to 80"),
        ({"train_size": 50, "val_size": 51}, "allowed are 1 to 49: of 100 training images 51 validate"),
        ({"test_size": 41}, "test_size is 41; allowed are 1 to 40: there are 40 test images"),
        ({"test_size": -1}, "test_size is -1; allowed are 1 to 40"),
    ],
)
def test_a_size_that_is_not_there_is_refused(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        split(dataset(), 0, **sizes)


def test_scoring_images_are_ten_a_class_from_the_training_part() -> None:
    parts = split(dataset(), 0)
    images = scoring_images(parts, 2, 0)
    assert len(set(images.tolist())) == 20
    assert set(images.tolist()) <= set(parts.train.tolist())
    assert np.array_equal(images, scoring_images(parts, 2, 0))
    assert not np.array_equal(images, scoring_images(parts, 2, 1))


def test_scoring_images_are_all_there_are_when_there_are_fewer() -> None:
    parts = split(dataset(), 0, train_size=7)
    assert sorted(scoring_images(parts, 2, 0)) == sorted(parts.train)
