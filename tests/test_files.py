"""Files and folders appear whole or not at all, whatever happens meanwhile; caches find a place."""

import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure

from mica import Masks
from mica.bench.measurements import Measurements, save
from mica.files import cache_folder, new_folder, write_file
from mica.report.figures.draw import _save
from mica.sweep.store.folder import Folder

DURABLE = pytest.mark.parametrize("durable", [False, True])


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


# --- a file


@DURABLE
def test_a_file_is_its_parts_in_folders_of_its_own(tmp_path: Path, durable: bool) -> None:
    write_file(tmp_path / "a/b/file", b"one", b"", b"two", durable=durable)
    assert (tmp_path / "a/b/file").read_bytes() == b"onetwo"
    write_file(str(tmp_path / "a/b/file"), b"three", durable=durable)
    assert (tmp_path / "a/b/file").read_bytes() == b"three"
    assert names(tmp_path / "a/b") == ["file"]


def test_a_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    write_file(tmp_path / "one", b"")
    (tmp_path / "other").touch()
    assert (tmp_path / "one").stat().st_mode == (tmp_path / "other").stat().st_mode


@DURABLE
def test_content_and_names_are_synced_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.readlink(f"/proc/self/fd/{file}")))
    write_file(tmp_path / "new/file", b"1", durable=durable)
    if not durable:
        assert not synced
        return
    assert synced[0] == str(tmp_path), "the new folder's name"
    assert synced[1].startswith(str(tmp_path / "new/.file.")), "the content, before it gets its name"
    assert synced[2] == str(tmp_path / "new"), "the file's name"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_error_names_the_file_and_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    write_file(tmp_path / "file", b"before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/file'") as caught:
        write_file(tmp_path / "file", b"after", durable=True)
    assert caught.value.errno == 28 and caught.value.filename == str(tmp_path / "file")
    assert names(tmp_path) == ["file"] and (tmp_path / "file").read_bytes() == b"before"


def test_an_interrupt_leaves_nothing_unfinished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "file", b"1")
    assert not names(tmp_path)


KILLED = """
import os, signal, sys
from mica.files import new_folder, write_file
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
os.replace = die
if sys.argv[2] == "file":
    write_file(sys.argv[1] + "/target", b"after")
else:
    with new_folder(sys.argv[1] + "/target") as folder:
        (folder / "part").write_bytes(b"half")
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_process_killed_before_the_rename_leaves_nothing_half_done(tmp_path: Path, kind: str) -> None:
    if kind == "file":
        write_file(tmp_path / "target", b"before")
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), kind])
    assert done.returncode == -9
    if kind == "file":
        assert (tmp_path / "target").read_bytes() == b"before"
        assert Folder(str(tmp_path)).list("") == ["target"], "a leftover is not taken for a file"
    else:
        assert not (tmp_path / "target").exists()
    assert all(name.startswith(".") for name in names(tmp_path) if name != "target")


def _save_figures(place: Path) -> None:
    save(Measurements(device="cpu", host="", threads=1, started="", versions={}, peak_gflops={}))


WRITERS: dict[str, Callable[[Path], object]] = {
    "store": lambda place: Folder(str(place)).write("file", b"1"),
    "masks": lambda place: Masks({"a": torch.ones(3, dtype=torch.bool)}).save(place / "masks.npz"),
    "figure": lambda place: _save(Figure(), place, "page"),
    "bench": _save_figures,
}


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder that even root cannot write to")
@pytest.mark.parametrize(("what", "file"), [
    ("store", "file"), ("masks", "masks.npz"), ("figure", "page.png"), ("bench", "bench"),
])  # fmt: skip
def test_in_a_read_only_folder_the_error_names_the_file(
    monkeypatch: pytest.MonkeyPatch, what: str, file: str
) -> None:
    monkeypatch.setenv("MICA_CACHE", "/proc/self")
    with pytest.raises(OSError, match=f"'/proc/self/{file}"):
        WRITERS[what](Path("/proc/self"))


# --- a folder


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    with new_folder(tmp_path / "a/b") as folder:
        (folder / "one").write_text("1")
        (folder.parent / "archive").write_text("of no use afterwards")
        assert not (tmp_path / "a/b").exists()
    assert names(tmp_path / "a") == ["b"] and names(tmp_path / "a/b") == ["one"]


def test_a_folder_whose_block_fails_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="of the block"), new_folder(tmp_path / "a") as folder:
        (folder / "one").write_text("1")
        raise OSError("of the block")
    assert not names(tmp_path)


def test_a_folder_takes_the_place_of_an_empty_one_only(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for content in ("first", "second"):
        try:
            with new_folder(tmp_path / "a") as folder:
                (folder / content).touch()
        except OSError as error:
            assert content == "second" and error.filename == str(tmp_path / "a")
    assert names(tmp_path) == ["a"] and names(tmp_path / "a") == ["first"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file/folder'"), new_folder(tmp_path / "file/folder"):
        pass


# --- the cache


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No variable says where this user's files are, nor does the list of users."""

    def unknown(_: int) -> None:
        raise KeyError("no such user")

    for variable in ("MICA_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    return monkeypatch


def test_the_cache_is_where_the_user_says(tmp_path: Path, nowhere: pytest.MonkeyPatch) -> None:
    nowhere.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache/mica"
    nowhere.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert cache_folder() == tmp_path / "caches/mica"
    nowhere.setenv("MICA_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    nowhere.setenv("MICA_CACHE", "~/mine")
    assert cache_folder() == tmp_path / "mine"
    nowhere.chdir(tmp_path)
    nowhere.setenv("MICA_CACHE", "here")
    assert cache_folder() == tmp_path / "here"


@pytest.mark.parametrize("home", [None, "/dev/null", "/dev/null/home"])
def test_a_user_without_a_home_has_a_cache_too(nowhere: pytest.MonkeyPatch, home: str | None) -> None:
    if home:
        nowhere.setenv("HOME", home)
    folder = cache_folder()
    assert folder.is_relative_to(tempfile.gettempdir())
    write_file(folder / "probe", b"")
    (folder / "probe").unlink()


def test_a_home_that_may_only_be_read_keeps_a_cache_that_is_there(
    tmp_path: Path, nowhere: pytest.MonkeyPatch
) -> None:
    nowhere.setenv("HOME", str(tmp_path))
    nowhere.setattr(os, "access", lambda *_: False)
    assert cache_folder().is_relative_to(tempfile.gettempdir())
    assert not cache_folder().is_relative_to(tmp_path)
    (tmp_path / ".cache/mica").mkdir(parents=True)
    assert cache_folder() == tmp_path / ".cache/mica"
