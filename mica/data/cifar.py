"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), from torchvision's files or from parquet files."""

import dataclasses
import os
from functools import partial
from pathlib import Path

import numpy as np

from mica.data import cifar_files
from mica.data.cifar_files import Cifar
from mica.data.dataset import Augment, Dataset, DataSource, Images, Labels, data_set, digest_of
from mica.data.location import expand
from mica.data.parquet import parquet
from mica.errors import DataError
from mica.files import cache_folder

AUGMENT: Augment = "crop-flip"
IMAGE_SHAPE = (3, 32, 32)

CIFAR10 = Cifar(
    name="cifar10",
    torchvision_class="CIFAR10",
    folder="cifar-10-batches-py",
    classes=10,
    mean=(0.491, 0.482, 0.447),
    std=(0.247, 0.243, 0.262),
    sums={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
)
CIFAR100 = Cifar(
    name="cifar100",
    torchvision_class="CIFAR100",
    folder="cifar-100-python",
    classes=100,
    mean=(0.507, 0.487, 0.441),
    std=(0.267, 0.256, 0.276),
    sums={"train": "16019d7e3df5f24257cddd939b257f8d", "test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
)


@data_set("cifar10")
def cifar10(*, root: str | None = None) -> DataSource:
    """CIFAR-10 in the folder `root` (default: $MICA_DATA, else `data` in `mica.files.cache_folder`).

    Torchvision's extracted folder there comes first, then cifar10/train.parquet and test.parquet,
    else it is downloaded, once, when it is loaded; that raises `DataError` when there is none of it,
    or not as published.
    """
    return _source(CIFAR10, root)


@data_set("cifar100")
def cifar100(*, root: str | None = None) -> DataSource:
    """CIFAR-100 with its 100 fine labels; otherwise as `cifar10`."""
    return _source(CIFAR100, root)


def data_root(root: str | None) -> Path:
    """The folder that holds data on this machine. Raises `DataError` for an unset variable."""
    place = root or os.environ.get("MICA_DATA")
    return Path(expand(place)) if place else cache_folder() / "data"


def _source(cifar: Cifar, root: str | None) -> DataSource:
    folder = data_root(root)
    # A root that was asked for is settled here, because a worker has another current directory. The
    # default is looked up where the data is loaded: each machine of a cluster has its own.
    asked = str(folder) if root else None
    if not (folder / cifar.folder).exists() and any(file.exists() for file in _hub_files(cifar, folder)):
        hub = _hub_source(cifar, folder)
        digest, load = digest_of(cifar.name, hub.digest), partial(_load_hub, cifar, asked, hub.digest)
        place = f"from {folder / cifar.name}"
    else:
        # Known from the published checksums, so that a sweep can be planned before the data is there.
        digest, load = cifar_files.digest(cifar), partial(_load_torchvision, cifar, asked)
        place = f"from {folder / cifar.folder}"
        if not (folder / cifar.folder).exists():
            place = f"not there yet: it will be downloaded to {folder / cifar.folder}"
    return DataSource(
        name=cifar.name,
        digest=digest,
        description=f"{cifar.torchvision_class}: 32x32 RGB, {cifar.classes} classes, {place}",
        augment=AUGMENT,
        load=load,
        train_images=50_000,
        image_shape=IMAGE_SHAPE,
        classes=cifar.classes,
    )


def _load_torchvision(cifar: Cifar, root: str | None) -> Dataset:
    folder = data_root(root)
    cifar_files.ensure(cifar, folder)
    train = cifar.dataset_class(folder, train=True)
    test = cifar.dataset_class(folder, train=False)
    return Dataset(
        name=cifar.name,
        classes=cifar.classes,
        train_images=_channels_first(train.data),
        train_labels=_labels(train.targets),
        test_images=_channels_first(test.data),
        test_labels=_labels(test.targets),
        mean=cifar.mean,
        std=cifar.std,
        augment=AUGMENT,
    )


def _load_hub(cifar: Cifar, root: str | None, digest: str) -> Dataset:
    """From parquet files, normalised as published, whatever the mean of this copy is."""
    folder = data_root(root)
    hub = _hub_source(cifar, folder)
    if hub.digest != digest:
        raise DataError(
            f"{cifar.name}: {folder / cifar.name} holds other data than where this trial was planned "
            f"(digest {hub.digest[:12]}, not {digest[:12]})"
        )
    found = hub.load()
    if found.image_shape != IMAGE_SHAPE or found.classes != cifar.classes:
        raise DataError(
            f"{cifar.name}: {folder / cifar.name} holds {found.classes} classes of images of shape "
            f"{found.image_shape}, not {cifar.classes} of {IMAGE_SHAPE}; for data of your own use parquet"
        )
    return dataclasses.replace(found, name=cifar.name, mean=cifar.mean, std=cifar.std)


def _hub_source(cifar: Cifar, folder: Path) -> DataSource:
    train, test = _hub_files(cifar, folder)
    return parquet(train=str(train), test=str(test))


def _hub_files(cifar: Cifar, folder: Path) -> tuple[Path, Path]:
    return folder / cifar.name / "train.parquet", folder / cifar.name / "test.parquet"


def _channels_first(images_nhwc: Images) -> Images:
    return np.ascontiguousarray(images_nhwc.transpose(0, 3, 1, 2))


def _labels(targets: list[int]) -> Labels:
    return np.array(targets, dtype=np.int64)
