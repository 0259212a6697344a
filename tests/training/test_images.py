"""Batches of training images: all of them once an epoch, and augmentation that crops and flips for real."""

import numpy as np
import pytest
import torch
from torch import Tensor

from mica.data import datasets
from mica.training.images import ImageSet
from mica.training.images import image_set as from_dataset
from tests.training.sample import image_set


def epoch(images: ImageSet, size: int = 8, *, seed: int = 0, number: int = 0, augment: bool = True):
    return list(images.training_batches(size, seed=seed, epoch=number, augment=augment))


def together(batches: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """All pixels, whole numbers again, and all labels."""
    return torch.cat([pixels for pixels, _ in batches]).round(), torch.cat([labels for _, labels in batches])


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize(("count", "size", "expected"), [
    (24, 8, [8, 8, 8]),
    (21, 8, [8, 8, 5]),  # the last partial batch is kept
    (18, 8, [8, 8, 2]),
    (17, 8, [8, 9]),  # a single image joins the batch before: batch norm has no variance of one value
    (9, 8, [9]),
    (8, 8, [8]),
    (5, 8, [5]),
    (1, 8, [1]),
])  # fmt: skip
def test_every_image_comes_once_an_epoch(augment: bool, count: int, size: int, expected: list[int]) -> None:
    batches = epoch(image_set(count), size, augment=augment)
    assert [len(labels) for _, labels in batches] == expected
    assert [len(pixels) for pixels, _ in batches] == expected
    assert sorted(together(batches)[1].tolist()) == list(range(count))


def test_without_augmentation_the_images_are_as_they_were() -> None:
    images = image_set(21)
    pixels, labels = together(epoch(images, augment=False))
    assert torch.equal(pixels, images.pixels[labels].float())


def windows(image: Tensor) -> dict[bytes, tuple[int, int, bool]]:
    """All crops of an image padded by 4 black pixels, mirrored or not."""
    side = image.shape[-1]
    padded = np.pad(image.numpy(), [(0, 0), (4, 4), (4, 4)])
    found = {}
    for top in range(9):
        for left in range(9):
            window = padded[:, top : top + side, left : left + side]
            found[window.tobytes()] = (top, left, False)
            found[window[:, :, ::-1].tobytes()] = (top, left, True)
    assert len(found) == 162
    return found


def test_augmented_images_are_crops_of_the_padded_image_mirrored_or_not() -> None:
    images = image_set(40)
    known = [windows(image) for image in images.pixels]
    places = []
    for number in range(20):
        pixels, labels = together(epoch(images, number=number))
        for image, label in zip(pixels.to(torch.uint8).numpy(), labels.tolist(), strict=True):
            places.append(known[label][image.tobytes()])
    tops, lefts, mirrored = (np.array(column) for column in zip(*places, strict=True))
    # 800 draws: each of 9 offsets is expected 89 times (standard deviation 8.9), a mirror 400 (14).
    for offsets in (tops, lefts):
        counts = np.bincount(offsets, minlength=9)
        assert counts.min() > 89 - 5 * 9 and counts.max() < 89 + 5 * 9
    assert 330 < mirrored.sum() < 470
    assert abs(np.corrcoef(tops, lefts)[0, 1]) < 0.15
    assert abs(np.corrcoef(tops, mirrored)[0, 1]) < 0.15


def test_order_and_augmentation_are_those_of_seed_and_epoch() -> None:
    images = image_set(30)
    first = together(epoch(images, seed=3, number=5))
    again = together(epoch(image_set(30), seed=3, number=5))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    for seed, number in ((3, 6), (4, 5)):
        pixels, labels = together(epoch(images, seed=seed, number=number))
        assert not torch.equal(labels, first[1])
        by_label, by_label_first = pixels[labels.argsort()], first[0][first[1].argsort()]
        same = (by_label == by_label_first).flatten(1).all(dim=1)
        assert same.sum() <= 3  # of 30, by chance 1 in 162


def test_augmentation_does_not_move_the_order() -> None:
    images = image_set(30)
    assert torch.equal(together(epoch(images, augment=True))[1], together(epoch(images, augment=False))[1])


def test_an_augmented_image_is_normalised_and_its_border_is_black() -> None:
    images = image_set(10)
    tinted = ImageSet(
        images.pixels, images.labels, torch.full((1, 2, 1, 1), 0.5), torch.full((1, 2, 1, 1), 0.25)
    )
    pixels, _ = together(epoch(images))
    normalised = torch.cat([pixels for pixels, _ in epoch(tinted)])
    assert torch.allclose(normalised, (pixels / 255 - 0.5) / 0.25)
    assert (pixels == 0).any()


def test_evaluation_takes_all_images_in_order_as_they_are() -> None:
    images = image_set(21)
    pixels, labels = together(list(images.batches(8)))
    assert torch.equal(labels, torch.arange(21))
    assert torch.equal(pixels, images.pixels.float())


@pytest.mark.parametrize("augment", [True, False])
def test_images_that_are_innermost_in_memory_are_the_same_to_the_bit(augment: bool) -> None:
    plain = image_set(53)
    mean, std = (torch.tensor(values)[None, :, None, None] for values in ((0.491, 0.3), (0.247, 0.2)))
    images = ImageSet(plain.pixels, plain.labels, mean, std)
    usual = epoch(images, 20, augment=augment) + list(images.batches(20))
    innermost = [
        *images.training_batches(20, seed=0, epoch=0, augment=augment, innermost=True),
        *images.batches(20, innermost=True),
    ]
    for (one, labels), (other, others) in zip(usual, innermost, strict=True):
        assert torch.equal(one, other) and torch.equal(labels, others)
        assert other.permute(1, 2, 3, 0).is_contiguous()


def test_images_of_a_data_set_are_normalised_by_its_statistics() -> None:
    dataset = datasets.get("synthetic")(size=8, train=60).load()
    images = from_dataset(dataset, "train", np.arange(60))
    pixels = images.normalised(slice(None))
    assert torch.allclose(pixels.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(pixels.std(dim=(0, 2, 3)), torch.ones(3), atol=1e-3)


def test_images_are_enlarged_by_repeating_pixels() -> None:
    dataset = datasets.get("digits")().load()
    images = from_dataset(dataset, "test", np.array([3, 5]), enlarge=2)
    assert images.pixels.shape == (2, 1, 16, 16)
    assert images.labels.tolist() == dataset.test_labels[[3, 5]].tolist()
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        assert (images.pixels[:, :, row::2, column::2].numpy() == dataset.test_images[[3, 5]]).all()
