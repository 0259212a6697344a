from typing import Any

import numpy as np
import pytest

from mica.data import Dataset, datasets
from mica.errors import DataError


def load(**options: Any) -> Dataset:
    return datasets.get("synthetic")(**options).load()


def test_the_shapes_are_those_asked_for() -> None:
    dataset = load(classes=4, size=9, channels=2, train=30, test=7)
    assert dataset.train_images.shape == (30, 2, 9, 9)
    assert dataset.test_images.shape == (7, 2, 9, 9)
    assert dataset.classes == 4
    assert np.bincount(dataset.train_labels).tolist() == [8, 8, 7, 7]
    assert len(dataset.mean) == len(dataset.std) == 2


def test_the_seed_makes_the_images_and_the_digest() -> None:
    first, again, other = load(seed=1), load(seed=1), load(seed=2)
    assert np.array_equal(first.train_images, again.train_images)
    assert np.array_equal(first.test_labels, again.test_labels)
    assert not np.array_equal(first.train_images, other.train_images)


def test_every_option_moves_the_digest() -> None:
    make = datasets.get("synthetic")
    options = ({}, {"classes": 9}, {"size": 8}, {"channels": 1}, {"train": 511}, {"test": 127}, {"seed": 1})
    assert len({make(**option).digest for option in options}) == len(options)
    assert make().digest == make(classes=10).digest


def test_a_linear_classifier_learns_it() -> None:
    dataset = load()
    train = dataset.train_images.reshape(512, -1) / 255 - 0.5
    test = dataset.test_images.reshape(128, -1) / 255 - 0.5
    centres = np.stack([train[dataset.train_labels == k].mean(axis=0) for k in range(10)])
    distances = ((test[:, None] - centres) ** 2).sum(axis=2)
    assert (distances.argmin(axis=1) == dataset.test_labels).mean() > 0.9


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"classes": 1}, "classes is 1; it must be at least 2"),
        ({"size": 0}, "size is 0; it must be at least 1"),
        ({"channels": 0}, "channels is 0"),
        ({"train": 9}, "train is 9; it must be at least 10"),
        ({"test": 0}, "test is 0"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
    ],
)
def test_an_option_that_is_too_small_is_refused(option: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        datasets.get("synthetic")(**option)
