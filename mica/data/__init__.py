"""Data sets: found and identified cheaply (`Source`), decoded once (`Dataset`), split by seed."""

from mica.data.cifar import cifar10, cifar100
from mica.data.dataset import Augment, Dataset, Images, Indices, Labels, Source, datasets
from mica.data.digits import digits
from mica.data.parquet import parquet
from mica.data.split import Split, scoring_images, split
from mica.data.synthetic import synthetic

__all__ = [
    "Augment",
    "Dataset",
    "Images",
    "Indices",
    "Labels",
    "Source",
    "Split",
    "cifar10",
    "cifar100",
    "datasets",
    "digits",
    "parquet",
    "scoring_images",
    "split",
    "synthetic",
]
