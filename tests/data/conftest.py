"""Small real files: parquet with encoded images, and torchvision's CIFAR layout."""

import hashlib
import io
import pickle
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds, or downloads to, the data of whoever runs it."""
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.delenv("MICA_DATA", raising=False)


@pytest.fixture
def encode() -> Callable[..., bytes]:
    """Pixels [H, W, 3] or [H, W] → the bytes of an image file."""

    def encode(pixels: np.ndarray, kind: str = "PNG", mode: str | None = None) -> bytes:
        buffer = io.BytesIO()
        image = Image.fromarray(pixels)
        (image.convert(mode) if mode else image).save(buffer, kind)
        return buffer.getvalue()

    return encode


@pytest.fixture
def pictures(encode: Callable[..., bytes]) -> Callable[..., list[bytes]]:
    """Any number of different encoded images."""

    def pictures(
        count: int, size: tuple[int, int] = (8, 8), grey: bool = False, kind: str = "PNG", seed: int = 0
    ) -> list[bytes]:
        shape = (count, *size) if grey else (count, *size, 3)
        pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        return [encode(image, kind) for image in pixels]

    return pictures


@pytest.fixture
def write_table() -> Callable[..., str]:
    """Write a parquet file in the layout of hubs; returns its path."""

    def write_table(
        path: Path,
        images: Sequence[bytes | None],
        labels: Sequence[int | None] | pa.Array,
        image: str = "img",
        label: str = "label",
        struct: bool = True,
    ) -> str:
        cells: list[object] = [{"bytes": data, "path": None} for data in images] if struct else list(images)
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())]) if struct else pa.binary()
        label_column = labels if isinstance(labels, pa.Array) else pa.array(labels, pa.int64())
        path.parent.mkdir(parents=True, exist_ok=True)
        # Small row groups, so that several are read.
        pq.write_table(pa.table({image: pa.array(cells, kind), label: label_column}), path, row_group_size=7)
        return str(path)

    return write_table


@dataclass(frozen=True)
class PublishedCifar:
    """What torchvision has to know of a CIFAR archive, here of a tiny one."""

    archive: Path
    sums: dict[str, str]
    tgz_md5: str
    images: np.ndarray
    """uint8 [60, 3, 32, 32]: five training batches of 10, then 10 test images."""

    def publish(self, dataset_class: type, url: str) -> None:
        """Make torchvision's class take this archive for the published one."""
        train = [[name, md5] for name, md5 in self.sums.items() if name.startswith("data")]
        dataset_class.url = url
        dataset_class.tgz_md5 = self.tgz_md5
        dataset_class.train_list = train
        dataset_class.test_list = [["test_batch", self.sums["test_batch"]]]
        dataset_class.meta = {**dataset_class.meta, "md5": self.sums["batches.meta"]}

    def extract(self, root: Path) -> Path:
        """Put the extracted folder in place; returns it."""
        with tarfile.open(self.archive) as tar:
            tar.extractall(root)  # our own archive; `filter` came with Python 3.11.4
        return root / "cifar-10-batches-py"


@pytest.fixture(scope="session")
def tiny_cifar(tmp_path_factory: pytest.TempPathFactory) -> PublishedCifar:
    """An archive in the format of cifar-10-python.tar.gz, with 10 images a batch."""
    images = np.random.default_rng(0).integers(0, 256, (60, 3, 32, 32), dtype=np.uint8)
    batches: dict[str, dict[str, object]] = {"batches.meta": {"label_names": [f"c{k}" for k in range(10)]}}
    names = [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]
    for start, name in zip(range(0, 60, 10), names, strict=True):
        flat = images[start : start + 10].reshape(10, 3072)
        batches[name] = {"data": flat, "labels": list(range(10))}
    folder = tmp_path_factory.mktemp("published")
    archive = folder / "cifar-10-python.tar.gz"
    sums = {}
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in batches.items():
            file = folder / name
            file.write_bytes(pickle.dumps(content))
            sums[name] = hashlib.md5(file.read_bytes()).hexdigest()
            tar.add(file, f"cifar-10-batches-py/{name}")
    return PublishedCifar(archive, sums, hashlib.md5(archive.read_bytes()).hexdigest(), images)
