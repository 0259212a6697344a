"""Data sets: found and identified cheaply (`DataSource`), decoded once (`Dataset`), split by seed."""

from mica.data.cifar import cifar10, cifar100
from mica.data.dataset import Augment, Dataset, DataSource, Images, Indices, Labels, data_set, datasets
from mica.data.digits import digits
from mica.data.parquet import parquet
from mica.data.split import Split, scoring_images, split
from mica.data.synthetic import synthetic

__all__ = [
    "Augment",
    "DataSource",
    "Dataset",
    "Images",
    "Indices",
    "Labels",
    "Split",
    "cifar10",
    "cifar100",
    "data_set",
    "datasets",
    "digits",
    "parquet",
    "scoring_images",
    "split",
    "synthetic",
]
