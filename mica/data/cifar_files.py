"""torchvision's own copy of CIFAR: is it there and whole, and downloading it when it is not."""

import contextlib
import http.client
import socket
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from mica.data.dataset import digest_of
from mica.errors import DataError
from mica.files import new_folder

# Everything that a network, a proxy's error page in place of the archive, or a full disk can raise.
_DOWNLOAD_ERRORS = (OSError, RuntimeError, EOFError, http.client.HTTPException, tarfile.TarError, zlib.error)
_SECONDS_OF_SILENCE = 60


@dataclass(frozen=True, kw_only=True)
class Cifar:
    """One of the two CIFAR data sets."""

    name: str
    """As registered, and the folder of its parquet files."""
    torchvision_class: str
    folder: str
    """The folder inside torchvision's archive."""
    classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    sums: Mapping[str, str]
    """Published file of images → its MD5 sum. torchvision has them too, but takes seconds to import."""

    @property
    def dataset_class(self) -> Any:
        """The class of torchvision, which knows the address, the files and their MD5 sums."""
        import torchvision  # slow, and of no use for other data

        return getattr(torchvision.datasets, self.torchvision_class)


def ensure(cifar: Cifar, root: Path) -> None:
    """Make sure that torchvision's files are whole in `root`; download them if they are not there.

    However many processes ask at once, one downloads and the others wait for it. Raises `DataError`
    when files that are there are not the published ones, and when the download fails.
    """
    if (root / cifar.folder).exists():
        _check(cifar, root)
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{cifar.name}.lock"):
            if not (root / cifar.folder).exists():
                _download(cifar, root)
    except _DOWNLOAD_ERRORS as error:
        raise DataError(_missing(cifar, root, error)) from error
    _check(cifar, root)


def digest(cifar: Cifar) -> str:
    """The digest of the published files, from the MD5 sums that `ensure` holds them to."""
    sums = [f"{name} {md5}" for name, md5 in cifar.sums.items()]
    return digest_of(cifar.name, "torchvision", *sums)


def _check(cifar: Cifar, root: Path) -> None:
    from torchvision.datasets.utils import calculate_md5

    published = cifar.dataset_class
    meta = (published.meta["filename"], published.meta["md5"])
    for name, md5 in [*published.train_list, *published.test_list, meta]:
        file = root / cifar.folder / name
        if not file.is_file():
            problem = "is missing"
        elif (found := calculate_md5(file)) != md5:
            problem = f"has the MD5 sum {found}, but the published file has {md5}"
        else:
            continue
        raise DataError(
            f"{cifar.name}: {file} {problem}; put the published file there, or remove the folder "
            f"{root / cifar.folder} to have it downloaded again"
        )


def _download(cifar: Cifar, root: Path) -> None:
    """Download and extract beside the final place, then rename: a folder that exists is a whole one."""
    with new_folder(root / cifar.folder) as folder, _socket_timeout(_SECONDS_OF_SILENCE):
        cifar.dataset_class(folder.parent, train=False, download=True)


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    # torchvision sets no time limit: a server that falls silent would hold the lock for ever.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _missing(cifar: Cifar, root: Path, error: Exception) -> str:
    url = cifar.dataset_class.url
    hub = root / cifar.name
    return (
        f"{cifar.name}: there is no data in {root}, and downloading {url} to there failed ({error}). "
        f"Without internet, put one of these in place: the folder {root / cifar.folder} "
        f"(extracted from {Path(url).name}), or the files {hub / 'train.parquet'} and "
        f"{hub / 'test.parquet'} (encoded images in img.bytes, classes in label or fine_label). "
        f"Another folder than {root} is chosen by the option root or the environment variable MICA_DATA."
    )
