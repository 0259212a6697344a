import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision

from mica.data import datasets
from mica.data.cifar import CIFAR10, CIFAR100, data_root
from mica.errors import DataError

WriteTable = Callable[..., str]
Pictures = Callable[..., list[bytes]]


def cifar10(root: Path | None = None) -> Any:
    return datasets.get("cifar10")(root=str(root) if root else None)


@pytest.fixture
def hub(tmp_path: Path, write_table: WriteTable, pictures: Pictures) -> Path:
    """A root with parquet files of CIFAR's shape and classes."""
    root = tmp_path / "hub"
    for part, count in (("train", 50), ("test", 20)):
        images = pictures(count, size=(32, 32), kind="JPEG", seed=count)
        write_table(root / "cifar10" / f"{part}.parquet", images, [k % 10 for k in range(count)])
    return root


@pytest.fixture
def published(tiny_cifar: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """torchvision takes the tiny archive for CIFAR-10, at an address where nobody answers."""
    published_class = torchvision.datasets.CIFAR10
    for attribute in ("url", "tgz_md5", "train_list", "test_list", "meta"):
        monkeypatch.setattr(published_class, attribute, getattr(published_class, attribute))
    tiny_cifar.publish(published_class, "http://127.0.0.1:9/cifar-10-python.tar.gz")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tiny_cifar


@pytest.fixture
def server(tiny_cifar: Any) -> Iterator[tuple[str, list[str]]]:
    """An address that serves the tiny archive, slowly, and the requests that it got."""
    requests: list[str] = []
    content = tiny_cifar.archive.read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            time.sleep(0.3)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}/cifar-10-python.tar.gz", requests
        http.shutdown()
        thread.join()


# --- parquet files


def test_parquet_files_are_normalised_as_published(hub: Path) -> None:
    source = cifar10(hub)
    dataset = source.load()
    assert (dataset.name, source.name, dataset.classes) == ("cifar10", "cifar10", 10)
    assert (dataset.mean, dataset.std) == ((0.491, 0.482, 0.447), (0.247, 0.243, 0.262))
    assert (dataset.augment, source.augment) == ("crop-flip", "crop-flip")
    assert dataset.train_images.shape == (50, 3, 32, 32)
    assert str(hub / "cifar10") in source.description


def test_cifar100_reads_fine_labels(tmp_path: Path, write_table: WriteTable, pictures: Pictures) -> None:
    for part in ("train", "test"):
        file = tmp_path / "cifar100" / f"{part}.parquet"
        write_table(file, pictures(100, size=(32, 32)), list(range(100)), label="fine_label")
    dataset = datasets.get("cifar100")(root=str(tmp_path)).load()
    assert dataset.classes == 100
    assert (dataset.mean, dataset.std) == ((0.507, 0.487, 0.441), (0.267, 0.256, 0.276))


def test_the_digest_is_of_the_content_and_of_the_name(hub: Path, tmp_path: Path) -> None:
    digest = cifar10(hub).digest
    assert digest == cifar10(hub).digest
    files = {part: str(hub / "cifar10" / f"{part}.parquet") for part in ("train", "test")}
    # The same files under another normalisation give other numbers.
    assert digest != datasets.get("parquet")(**files).digest
    (tmp_path / "moved").symlink_to(hub)
    assert digest == cifar10(tmp_path / "moved").digest
    Path(files["test"]).write_bytes(Path(files["train"]).read_bytes())
    assert digest != cifar10(hub).digest


def test_a_file_that_changes_after_the_look_is_refused(hub: Path) -> None:
    source = cifar10(hub)
    (hub / "cifar10" / "test.parquet").write_bytes((hub / "cifar10" / "train.parquet").read_bytes())
    with pytest.raises(DataError, match=r"cifar10: .*holds other data than where this trial was planned"):
        source.load()


def test_one_parquet_file_alone_is_not_replaced_by_a_download(hub: Path) -> None:
    (hub / "cifar10" / "test.parquet").unlink()
    with pytest.raises(DataError, match=r"cifar10/test.parquet: there is no such file"):
        cifar10(hub)


def test_other_images_in_cifars_place_are_refused(
    tmp_path: Path, write_table: WriteTable, pictures: Pictures
) -> None:
    for part in ("train", "test"):
        write_table(tmp_path / "cifar10" / f"{part}.parquet", pictures(10, size=(28, 28)), list(range(10)))
    with pytest.raises(DataError, match=r"10 classes of images of shape \(3, 28, 28\), not 10 of \(3, 32"):
        cifar10(tmp_path).load()


# --- where the data is


def test_the_root_is_the_option_else_mica_data_else_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("MICA_CACHE")
    assert data_root(None) == home / ".cache/mica/data"
    monkeypatch.setenv("MICA_CACHE", "~/scratch")
    assert data_root(None) == home / "scratch/data"
    monkeypatch.setenv("MICA_DATA", "~/data")
    assert data_root(None) == home / "data"
    assert data_root("/other") == Path("/other")
    monkeypatch.chdir(tmp_path)
    assert data_root("here") == tmp_path / "here"
    with pytest.raises(DataError, match="variable NOT_SET_3 is not set"):
        data_root("$NOT_SET_3/data")


def test_each_machine_looks_in_its_own_default_root(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICA_DATA", str(hub))
    sent = pickle.dumps(cifar10())
    hub.rename(tmp_path / "elsewhere")
    monkeypatch.setenv("MICA_DATA", str(tmp_path / "elsewhere"))
    assert pickle.loads(sent).load().name == "cifar10"


def test_a_relative_root_holds_in_another_directory(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(hub.parent)
    source = cifar10(Path("hub"))
    monkeypatch.chdir("/")
    assert source.load().name == "cifar10"


def test_what_is_not_there_is_not_said_to_be(
    published: Any, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICA_DATA", str(tmp_path / "wrong"))
    about = "CIFAR10: 32x32 RGB, 10 classes, "
    folder = tmp_path / "wrong" / CIFAR10.folder
    assert cifar10().description == f"{about}not there yet: it will be downloaded to {folder}"
    (tmp_path / "wrong").mkdir()
    published.extract(tmp_path / "wrong")
    assert cifar10().description == f"{about}from {folder}"
    monkeypatch.setenv("MICA_DATA", str(hub))
    assert cifar10().description == f"{about}from {hub / 'cifar10'}"


# --- torchvision's files


def test_folders_and_sums_are_those_of_torchvision() -> None:
    for cifar in (CIFAR10, CIFAR100):
        published = cifar.dataset_class
        assert published.base_folder == cifar.folder
        assert dict(published.train_list + published.test_list) == cifar.sums


def test_torchvisions_folder_is_read_and_comes_first(published: Any, hub: Path) -> None:
    from_hub = cifar10(hub)
    folder = published.extract(hub)
    source = cifar10(hub)
    dataset = pickle.loads(pickle.dumps(source)).load()
    assert np.array_equal(dataset.train_images, published.images[:50])
    assert np.array_equal(dataset.test_images, published.images[50:])
    assert dataset.train_labels.tolist() == list(range(10)) * 5
    assert dataset.train_images.flags.c_contiguous
    assert (dataset.mean, dataset.std) == (CIFAR10.mean, CIFAR10.std)
    assert str(folder) in source.description
    assert source.digest != from_hub.digest


def test_the_digest_of_torchvisions_files_is_that_of_the_published_sums(
    published: Any, tmp_path: Path
) -> None:
    for root in ("a", "b"):
        (tmp_path / root).mkdir()
        published.extract(tmp_path / root)
    digest = cifar10(tmp_path / "a").digest
    assert digest == cifar10(tmp_path / "b").digest
    # Keys are made of it: it stays what it is.
    assert digest == "d2294b4a9aef5e994396b2a1f959ed874c1b740f01c1a534b80c9c1ab9f3a870"
    digest_100 = datasets.get("cifar100")(root=str(tmp_path)).digest
    assert digest_100 == "9da86468efd9a6b4d5fe18e476f53148ce39fdd343ea138ae5f7b7b58311989f"


def test_who_plans_does_not_wait_for_torchvision(tmp_path: Path) -> None:
    code = (
        "import sys; from mica.data.cifar import cifar10; cifar10(); sys.exit('torchvision' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "MICA_DATA": str(tmp_path)})


def test_a_folder_in_the_right_format_with_other_content_is_refused(tiny_cifar: Any, tmp_path: Path) -> None:
    folder = tiny_cifar.extract(tmp_path)
    found, expected = tiny_cifar.sums["data_batch_1"], "c99cafc152244af753f735de768cd75f"
    with pytest.raises(DataError) as caught:
        cifar10(tmp_path).load()
    assert f"{folder / 'data_batch_1'} has the MD5 sum {found}" in str(caught.value)
    assert expected in str(caught.value)
    assert f"remove the folder {folder}" in str(caught.value)


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_folder_with_a_file_missing_is_refused(published: Any, tmp_path: Path, name: str) -> None:
    (published.extract(tmp_path) / name).unlink()
    with pytest.raises(DataError, match=f"{name} is missing"):
        cifar10(tmp_path).load()


# --- downloading


def test_the_digest_is_known_before_the_data_is_there(published: Any, tmp_path: Path) -> None:
    planned = cifar10(tmp_path / "root").digest
    assert not (tmp_path / "root").exists()
    (tmp_path / "root").mkdir()
    published.extract(tmp_path / "root")
    assert cifar10(tmp_path / "root").digest == planned


def test_without_internet_both_ways_to_put_the_data_in_place_are_told(published: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        cifar10(tmp_path / "root").load()
    message = str(caught.value)
    for part in (
        f"cifar10: there is no data in {tmp_path / 'root'}",
        "downloading http://127.0.0.1:9/cifar-10-python.tar.gz",
        "Connection refused",
        str(tmp_path / "root" / "cifar-10-batches-py"),
        str(tmp_path / "root" / "cifar10" / "train.parquet"),
        str(tmp_path / "root" / "cifar10" / "test.parquet"),
        "the option root or the environment variable MICA_DATA",
    ):
        assert part in message
    # Nothing half-done stays that a later run could take for data.
    assert [file.name for file in (tmp_path / "root").iterdir()] in ([], [".cifar10.lock"])


def test_a_root_that_cannot_be_made_is_told(published: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cifar10: there is no data in .*file.*failed"):
        cifar10(tmp_path / "file" / "root").load()


def test_a_page_in_place_of_the_archive_is_refused(
    published: Any, server: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published_class = torchvision.datasets.CIFAR10
    monkeypatch.setattr(published_class, "url", server[0])
    monkeypatch.setattr(published_class, "tgz_md5", "0" * 32)
    with pytest.raises(DataError, match=r"failed \(File not found or corrupted"):
        cifar10(tmp_path).load()
    assert not (tmp_path / CIFAR10.folder).exists()


MANY = """
import json, os, sys
from mica.data import datasets
import torchvision

root, attributes, processes = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
for name, value in attributes.items():
    setattr(torchvision.datasets.CIFAR10, name, value)
children = []
for _ in range(processes):
    child = os.fork()
    if child == 0:
        loaded = datasets.get("cifar10")(root=root).load()
        os._exit(0 if loaded.train_images.shape == (50, 3, 32, 32) else 1)
    children.append(child)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


def test_of_many_processes_at_once_one_downloads(
    published: Any, server: tuple[str, list[str]], tmp_path: Path
) -> None:
    published_class = torchvision.datasets.CIFAR10
    names = ("tgz_md5", "train_list", "test_list", "meta")
    attributes = {name: getattr(published_class, name) for name in names} | {"url": server[0]}
    # The processes fork after the slow import of torch, so that they truly start at once.
    done = subprocess.run(
        [sys.executable, "-c", MANY, str(tmp_path), json.dumps(attributes), "6"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    # torchvision asks twice for one download: first it follows redirects, then it fetches.
    assert len(server[1]) == 2
    assert sorted(file.name for file in tmp_path.iterdir()) in (
        [CIFAR10.folder],
        [".cifar10.lock", CIFAR10.folder],
    )


# --- the real images, on a machine that has them in $MICA_DATA


def _roots_to_check() -> list[str]:
    root = os.environ.get("MICA_DATA", "")
    places = (Path(root, CIFAR10.folder), Path(root, "cifar10", "train.parquet"))
    return ["generated", *([root] if root and any(place.exists() for place in places) else [])]


@pytest.mark.parametrize("root", _roots_to_check())
def test_every_class_is_as_frequent(root: str, hub: Path) -> None:
    dataset = cifar10(hub if root == "generated" else Path(root)).load()
    train, test = (50, 20) if root == "generated" else (50_000, 10_000)
    assert np.bincount(dataset.train_labels).tolist() == [train // 10] * 10
    assert np.bincount(dataset.test_labels).tolist() == [test // 10] * 10
    assert dataset.image_shape == (3, 32, 32)
    if root != "generated":
        mean = dataset.train_images.mean(axis=(0, 2, 3), dtype=np.float64) / 255
        np.testing.assert_allclose(mean, dataset.mean, atol=0.002)
