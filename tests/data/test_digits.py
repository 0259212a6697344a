import importlib.util
from typing import Any

import numpy as np
import pytest

from mica.data import datasets
from mica.data.digits import content_digest, stratified_split
from mica.data.normalisation import channel_statistics
from mica.errors import DataError


def test_the_digits_are_all_there_once_and_scaled() -> None:
    from sklearn.datasets import load_digits

    dataset = datasets.get("digits")().load()
    assert dataset.train_images.shape == (1437, 1, 8, 8)
    assert dataset.test_images.shape == (360, 1, 8, 8)
    assert dataset.train_images.max() == 255
    assert (dataset.classes, dataset.augment) == (10, "none")
    assert (dataset.mean, dataset.std) == channel_statistics(dataset.train_images)

    def rows(images: Any, labels: Any) -> list[tuple[int, ...]]:
        return sorted((*image.ravel().tolist(), label) for image, label in zip(images, labels, strict=True))

    original = load_digits()
    ours = np.concatenate([dataset.train_images, dataset.test_images])
    labels = np.concatenate([dataset.train_labels, dataset.test_labels]).tolist()
    assert rows(np.rint(ours / (255 / 16)).astype(int), labels) == rows(
        original.images.astype(int), original.target.tolist()
    )


def test_the_split_is_stratified_and_always_the_same() -> None:
    dataset = datasets.get("digits")().load()
    train, test = np.bincount(dataset.train_labels), np.bincount(dataset.test_labels)
    share = (train + test) * 360 / 1797
    assert np.all(np.abs(test - share) < 1)
    # The load compares the content with the pinned digest: the same split on every machine.
    assert content_digest(dataset) == datasets.get("digits")().digest


def test_a_stratified_split_by_hand() -> None:
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1])
    train, test = stratified_split(labels, 5)
    assert np.bincount(labels[test]).tolist() == [3, 2]
    assert sorted([*train, *test]) == list(range(10))


def test_changed_digits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sklearn.datasets.load_digits", _all_zero_but_one)
    with pytest.raises(DataError, match="gives other images or another split"):
        datasets.get("digits")().load()


def _all_zero_but_one() -> Any:
    class Bunch:
        images = np.eye(8)[None].repeat(1797, axis=0)
        target = np.arange(1797) % 10

    return Bunch


def test_without_scikit_learn_the_message_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"digits: scikit-learn, .* is not installed"):
        datasets.get("digits")()
