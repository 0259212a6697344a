"""One contract for every place, and what a place that cannot be one is told by."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from mica.errors import UserError
from mica.sweep.store import bucket
from mica.sweep.store.bucket import Bucket
from mica.sweep.store.folder import Folder
from mica.sweep.store.place import Obstacle, Place, Unreachable
from mica.sweep.store.places import open_place
from tests.sweep.store.contract import PlaceContract
from tests.sweep.store.places import (
    BUCKET,
    SECRET,
    Deaf,
    Heedless,
    Share,
    careless_server,
    environment,
    s3_server,
)

NUMBERS = count()
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount, or become somebody else")


class TestFolder(PlaceContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return Folder(str(tmp_path / "a folder"))


class TestFileUri(PlaceContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return open_place((tmp_path / "a%20folder #1").as_uri())


class TestEmulatedShare(PlaceContract):
    """Emulated: there is no NFS here."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return Share(str(tmp_path / "share"))


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server() as endpoint:
        yield endpoint


class TestS3(PlaceContract):
    impossible = "a//b"

    @pytest.fixture
    def place(self, s3: str) -> Place:
        return open_place(f"s3://{BUCKET}/folder {next(NUMBERS)}")

    def test_what_is_made_anew_while_it_is_set_aside_stays(
        self, place: Bucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place.write("x", b"damaged")
        real = place.write

        def slow(name: str, content: bytes) -> None:
            real(name, content)
            real("x", b"sound")  # another has moved it, and a third has made it anew

        monkeypatch.setattr(place, "write", slow)
        assert place.set_aside("x") is None
        assert place.read("x") == b"sound" and place.list("set-aside") == []

    def test_an_object_that_is_deleted_while_it_is_read_is_gone(self, place: Place) -> None:
        place.write("big", bytes(2**21))
        file = place.open("big")
        assert file is not None
        place.delete("big")
        with pytest.raises(FileNotFoundError):
            file.read(10)


# --- a lost answer


@pytest.mark.parametrize("answer", [TimeoutError, None])
def test_own_content_is_known_after_a_lost_answer(tmp_path: Path, answer: type[OSError] | None) -> None:
    place = Deaf(str(tmp_path))
    place.answer = answer
    assert place.create("a", b"ours")
    if answer is None:
        place.check()
    Folder(str(tmp_path)).create("b", b"another's")
    if answer is None:
        assert not place.create("b", b"ours")
    else:
        with pytest.raises(TimeoutError):
            place.create("b", b"ours")
    assert place.read("b") == b"another's"


# --- what a folder may hold in a file's place


def test_what_is_no_file_is_an_obstacle_and_can_be_set_aside(tmp_path: Path) -> None:
    place = Folder(str(tmp_path))
    (tmp_path / "folder/full").mkdir(parents=True)
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to("circle")
    os.mkfifo(tmp_path / "pipe")
    os.mknod(tmp_path / "socket", 0o140600) if os.geteuid() == 0 else (tmp_path / "socket").mkdir()
    for name in ("folder", "dangling", "circle", "pipe", "socket"):
        with pytest.raises(Obstacle, match=f"{tmp_path}/{name}: "):
            place.read(name)
        assert not place.create(name, b"x")
        assert place.set_aside(name)
        assert place.create(name, b"x") and place.read(name) == b"x"


def test_a_file_in_a_folder_s_place_is_an_error_and_nobody_wins(tmp_path: Path) -> None:
    place = Folder(str(tmp_path))
    (tmp_path / "claims").touch()
    assert place.list("claims") == [] and place.read("claims/a") is None
    place.delete("claims/a")
    with pytest.raises(OSError, match="claims/a"):
        place.create("claims/a", b"")
    with pytest.raises(UserError, match="cannot be written"):
        Folder(str(tmp_path / "claims" / "deeper")).check()


def test_two_that_upload_one_file_leave_a_whole_one(tmp_path: Path) -> None:
    """Neither writes into the other's unfinished copy, and a failure leaves none."""
    place = Folder(str(tmp_path / "place"))
    with pytest.raises(OSError):
        place.upload_file(tmp_path, "table")
    (tmp_path / "source").write_bytes(b"1")
    (tmp_path / "place").mkdir(exist_ok=True)
    (tmp_path / "place/.table.tmp").write_bytes(b"another's")
    place.upload_file(tmp_path / "source", "table")
    assert sorted(path.name for path in (tmp_path / "place").iterdir()) == [".table.tmp", "table"]
    assert (tmp_path / "place/.table.tmp").read_bytes() == b"another's"


# --- places that are none


def test_a_place_that_lets_both_win_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"storage {tmp_path}: lets two writers create the same name"):
        Heedless(str(tmp_path)).check()
    assert Folder(str(tmp_path)).list("") == []


def test_so_is_an_s3_server_that_ignores_the_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    with careless_server() as endpoint:
        for name, value in environment(endpoint).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(UserError, match="storage s3://bucket/x: lets two writers create the same name"):
            Bucket("s3://bucket/x").check()


WRITES = """
import sys
from mica.errors import UserError
from mica.sweep.store.places import open_place
try:
    open_place(sys.argv[1]).check()
except UserError as error:
    print(error)
"""


@AS_ROOT
@pytest.mark.skipif(shutil.which("runuser") is None, reason="no runuser")
def test_a_folder_that_may_only_be_read_is_refused_by_name() -> None:
    import mica

    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        command = f"import os; os.setgid(65534); os.setuid(65534)\n{WRITES}"
        paths = os.pathsep.join([str(Path(mica.__file__).parents[1]), *sys.path])
        # Imported as root: nobody may be kept from reading where mica lies.
        done = subprocess.run(
            [sys.executable, "-c", f"import mica.sweep.store.places\n{command}", folder],
            env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.stdout.startswith(f"storage {folder}: cannot be written: [Errno 13] Permission denied"), (
            done
        )
        assert os.listdir(folder) == []


@AS_ROOT
def test_a_full_disk_is_refused_by_name_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        place = Folder(str(disk))
        place.check()
        with pytest.raises(OSError, match=r"No space left on device: '.*/records/big'"):
            place.create("records/big", bytes(2**20))
        with pytest.raises(OSError, match="No space left"):
            place.write("records/big", bytes(2**20))
        (tmp_path / "source").write_bytes(bytes(2**20))
        with pytest.raises(OSError, match="No space left"):
            place.upload_file(tmp_path / "source", "records/big")
        assert [path.name for path in (disk / "records").iterdir()] == []
        with pytest.raises(OSError), open(disk / "filler", "wb", buffering=0) as filler:
            while filler.write(bytes(1024)):
                pass
        with pytest.raises(UserError, match=f"storage {disk}: cannot be written: .*No space left"):
            place.check()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_an_address_that_cannot_be_understood() -> None:
    with pytest.raises(UserError, match="storage nosuch://bucket/x: cannot be opened"):
        open_place("nosuch://bucket/x")


def test_an_unset_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MICA_NOWHERE", raising=False)
    with pytest.raises(UserError, match="the environment variable MICA_NOWHERE is not set"):
        open_place("$MICA_NOWHERE/results")


def test_a_file_is_no_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=f"storage {tmp_path}/file: is a file; allowed is a folder"):
        open_place(str(tmp_path / "file"))


# --- errors


def test_errors_name_the_place_and_show_no_credentials(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "_RETRY", {"max_retries": 0})
    place = Bucket("s3://nosuchbucket/x")
    acts = [
        lambda: place.create("a", b""), lambda: place.write("a", b""), lambda: place.list("a"),
    ]  # fmt: skip
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:" + SECRET + "@127.0.0.1:1")
    away = Bucket("s3://bucket/x")
    acts += [
        lambda: away.create("a", b""), lambda: away.read("a"), lambda: away.open("a"), lambda: away.list(""),
        lambda: away.delete("a"), lambda: away.set_aside("a"), lambda: away.write("a", b""),
    ]  # fmt: skip
    for act in acts:
        with pytest.raises(
            (Unreachable, FileNotFoundError), match=r"^s3://(nosuchbucket|bucket)/x/"
        ) as caught:
            act()
        assert SECRET not in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(UserError, match="storage s3://bucket/x: cannot be written") as refused:
        away.check()
    assert SECRET not in str(refused.value)
