"""scikit-learn's handwritten digits: small, and there without a download."""

import importlib.util

import numpy as np

from mica import rng
from mica.data.dataset import (
    Augment,
    Dataset,
    DataSource,
    Indices,
    Labels,
    content_of,
    data_set,
    digest_of,
)
from mica.data.normalisation import channel_statistics
from mica.errors import DataError

AUGMENT: Augment = "none"
TEST_SIZE = 360

# Of the arrays as they are loaded, split included. It is pinned, and not computed from the file, so
# that it is known without decoding, and another compression in a later scikit-learn does not move it.
DIGEST = "05deca61b857b187ae035d1968372edb0ae3e75fbb542d47c9956b8592e1adff"


@data_set("digits")
def digits() -> DataSource:
    """1,797 grey images of 8x8 in 10 classes, 360 of them for the test. Raises `DataError`."""
    if importlib.util.find_spec("sklearn") is None:
        raise DataError("digits: scikit-learn, which holds this data set, is not installed")
    return DataSource(
        name="digits",
        digest=DIGEST,
        description="handwritten digits: 8x8 grey, 10 classes, 1,437 training and 360 test images, "
        "from scikit-learn",
        augment=AUGMENT,
        load=load_digits,
        train_images=1437,
        image_shape=(1, 8, 8),
        classes=10,
    )


def load_digits() -> Dataset:
    """The digits, scaled from 0..16 to 0..255. Raises `DataError` when scikit-learn changed them."""
    from sklearn import datasets as sklearn_datasets

    bunch = sklearn_datasets.load_digits()
    images = np.rint(bunch.images[:, None] * (255 / 16)).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    train, test = stratified_split(labels, TEST_SIZE)
    mean, std = channel_statistics(images[train])
    dataset = Dataset(
        name="digits",
        classes=10,
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        mean=mean,
        std=std,
        augment=AUGMENT,
    )
    if content_digest(dataset) != DIGEST:
        raise DataError("digits: the installed scikit-learn or numpy gives other images or another split")
    return dataset


def stratified_split(labels: Labels, test_size: int) -> tuple[Indices, Indices]:
    """Indices of the training and of the test part, each in order, always the same.

    Every class has its share of the test part, to the nearest image: first the whole shares, then
    one more for the classes with the largest remainders.
    """
    order = rng.stream(0, "digits").permutation(len(labels))
    counts = np.bincount(labels)
    wholes, remainders = np.divmod(counts * test_size, len(labels))
    largest = np.argsort(-remainders, kind="stable")[: test_size - wholes.sum()]
    wholes[largest] += 1
    test = np.concatenate([order[labels[order] == k][:share] for k, share in enumerate(wholes)])
    return np.setdiff1d(order, test), np.sort(test)


def content_digest(dataset: Dataset) -> str:
    """The digest of all pixels and labels."""
    return digest_of("digits", *content_of(dataset))
