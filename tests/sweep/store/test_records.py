"""Records: each created once, never overwritten; what is none is set aside, and nothing foreign touched."""

import json
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mica.sweep.store.folder import Folder
from mica.sweep.store.layout import (
    DIFFERENCES,
    FAILURES,
    RECORDS,
    SET_ASIDE,
    failure_path,
    name_of,
    record_path,
)
from mica.sweep.store.records import Store
from mica.sweep.store.stored import Newer, Stored, _checksum, decode, encode
from mica.trial.record import RECORD_VERSION
from tests.sweep.sample import coded, stored
from tests.sweep.store.places import Share

FAILED = {"outcome": "failed", "error": "Traceback …\nRuntimeError: a bug\n"}
A = stored("a")
PATH = record_path(A.name)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "results"))


class TestOneRecord:
    def test_comes_back_as_it_was(self, store: Store) -> None:
        assert store.find(A.key, {}) is None and store.latest(A.key) is None and store.names() == {}
        assert store.put(A) == A
        assert store.find(A.key, {}) == store.read(A.name) == store.latest(A.key) == A
        assert list(store.load()) == [A] and store.names() == {A.name: A.key}
        assert store.place.list("") == [PATH]

    def test_is_never_overwritten(self, store: Store, caplog: pytest.LogCaptureFixture) -> None:
        other = stored("a", 61.5)
        store.put(A)
        whole = store.place.read(PATH)
        assert store.put(other) == A
        assert store.place.read(PATH) == whole
        (path,) = store.place.list(DIFFERENCES)
        assert decode(store.place.read(path) or b"") == other
        (message,) = caplog.messages
        assert "differs in results.test_top1, results.test_top1_at_best_val, results.test_top1_max" in message
        assert "and 1 more; the first stands" in message and path in message and A.key[:12] in message

    def test_of_equal_numbers_nobody_is_told(self, store: Store, caplog: pytest.LogCaptureFixture) -> None:
        where = A.record.provenance.model_copy(update={"host": "elsewhere", "seconds_train": 99.0})
        again = A.record.model_copy(update={"provenance": where, "kept": "kept/elsewhere"})
        store.put(A)
        assert store.put(A) == A
        assert store.put(Stored(A.key, "another sweep", again)) == A
        assert not caplog.messages and store.place.list("") == [PATH]

    def test_of_racing_writers_one_stands_and_all_hear_of_it(self, store: Store) -> None:
        start = threading.Barrier(8)

        def put(number: int) -> Stored:
            start.wait()
            return Store(store.place.address).put(stored("a", number))

        with ThreadPoolExecutor(8) as pool:
            stand = list(pool.map(put, range(8)))
        assert stand == [store.read(A.name)] * 8
        assert len(store.place.list(DIFFERENCES)) == 7 and len(store.place.list(RECORDS)) == 1

    def test_is_not_there_when_it_cannot_be_written(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            store.put(A)
        assert not [path for path in (store.place.local or Path()).rglob("*") if path.is_file()]

    def test_is_its_writer_s_after_a_lost_answer(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        real = Folder._create

        def deaf(self: Folder, name: str, content: bytes, *, durable: bool) -> bool:
            real(self, name, content, durable=durable)
            raise TimeoutError("no answer")

        monkeypatch.setattr(Folder, "_create", deaf)
        assert store.put(A) == A
        with pytest.raises(TimeoutError):
            store.put(stored("a", 61.5))

    def test_goes_up_against_a_share_that_shows_it_late(self, tmp_path: Path) -> None:
        """Emulated: the name is taken, and what stands there is not seen yet."""
        first, second = Store(str(tmp_path)), Store(str(tmp_path))
        first.place, second.place = Share(str(tmp_path)), Share(str(tmp_path))
        second.place.LAG = 60
        first.put(A)
        with pytest.raises(OSError, match="something stands there"):  # a worker tries again by and by
            second.put(stored("a", 61.5))
        assert Store(str(tmp_path)).read(A.name) == A


class TestVariants:
    """A record's name says with what code of the user's own it was made."""

    def test_each_has_its_record_and_the_newest_is_the_latest(self, store: Store) -> None:
        old, new = coded("a", 1, "aa", "2026-01-01"), coded("a", 2, "bb", "2026-02-01")
        assert old.name == name_of(A.key, {"mlp": "aa"}) != new.name and old.name.startswith(A.key)
        for item in (new, old):
            assert store.put(item) == item
        assert store.find(A.key, {"mlp": "aa"}) == old and store.find(A.key, {}) is None
        assert store.latest(A.key) == new
        assert store.names() == {old.name: A.key, new.name: A.key}


class TestFailures:
    def test_are_numbered_attempts(self, store: Store) -> None:
        for number in (1, 2):
            item = stored("a", **FAILED | {"error": f"Error: {number}"})
            assert store.put(item) == item
            assert store.last_failure(A.key) == store.latest(A.key) == item == store.failure(A.key, number)
        assert store.failures() == {A.key: 2} and store.names() == {}
        assert store.place.list("") == [failure_path(A.key, 1), failure_path(A.key, 2)]
        assert list(store.load()) == [item]

    def test_hide_no_record(self, store: Store) -> None:
        store.put(A)
        store.put(stored("a", **FAILED))
        assert store.latest(A.key) == A and list(store.load()) == [A]

    def test_of_racing_writers_are_all_kept(self, store: Store) -> None:
        start = threading.Barrier(12)

        def put(number: int) -> None:
            start.wait()
            Store(store.place.address).put(stored("a", **FAILED | {"error": f"Error: {number}"}))

        with ThreadPoolExecutor(12) as pool:
            list(pool.map(put, range(12)))
        errors = {(store.failure(A.key, number) or A).record.error for number in range(1, 13)}
        assert errors == {f"Error: {number}" for number in range(12)} and store.failures() == {A.key: 12}

    def test_that_cannot_be_written_are_an_error(self, store: Store) -> None:
        store.place.write(f"{FAILURES}/{A.key}", b"a file in the folder's place")
        with pytest.raises(OSError, match="0001"):
            store.put(stored("a", **FAILED))

    def test_of_a_newer_mica_are_passed_over(self, store: Store) -> None:
        store.place.write(failure_path(A.key, 1), newer())
        assert store.last_failure(A.key) is None and list(store.load()) == []


def damaged(change: Callable[[dict[str, Any]], object]) -> bytes:
    """The file of a record with something changed inside, under a checksum that is right again."""
    body = json.loads(json.loads(encode(A))["body"])
    change(body)
    text = json.dumps(body)
    return json.dumps({"checksum": _checksum(text), "body": text}).encode()


def newer() -> bytes:
    return damaged(lambda body: body["record"].update(version=RECORD_VERSION + 1, more="fields"))


UNSOUND = [
    b"", b"{", b"null", b"[]", b"{}", b"\xff\xfe\x00", b"hello", b'{"checksum": 1, "body": 2}',
    b'{"checksum": "x", "body": "{}"}', b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000,
    encode(A)[: len(encode(A)) // 2], encode(A).replace(b"45.0", b"46.0", 1), encode(stored("b")),
    damaged(lambda body: body.pop("record")),
    damaged(lambda body: body.update(record=[])),
    damaged(lambda body: body["record"].pop("outcome")),
    damaged(lambda body: body["record"].update(outcome="splendid")),
    damaged(lambda body: body["record"].update(unknown=1)),
    damaged(lambda body: body["record"].update(version="two")),
    damaged(lambda body: body.update(key="f" * 64)),
]  # fmt: skip


class TestWhatIsNoRecord:
    @pytest.mark.parametrize("content", UNSOUND, ids=range(len(UNSOUND)))
    def test_is_set_aside_and_told_of(
        self, store: Store, content: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        store.put(stored("b"))
        store.place.write(PATH, content)
        assert list(store.load()) == [stored("b")]
        (target,) = store.place.list(SET_ASIDE)
        assert store.place.read(target) == content and store.place.read(PATH) is None
        (message,) = caplog.messages
        assert f"{PATH} is no sound record" in message and target in message
        assert caplog.records[0].levelno == logging.WARNING
        assert store.put(A) == A and store.read(A.name) == A

    @pytest.mark.parametrize("kind", ["folder", "dangling link", "link in a circle", "pipe"])
    def test_may_be_no_file(self, store: Store, kind: str) -> None:
        path = Path(store.place.address, PATH)
        path.parent.mkdir(parents=True)
        if kind == "folder":
            (path / "deep").mkdir(parents=True)
            (path / "deep/file").write_text("x")
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to("nowhere" if kind == "dangling link" else path.name)
        assert store.read(A.name) is None
        assert not os.path.lexists(path) and len(os.listdir(Path(store.place.address, SET_ASIDE))) == 1
        assert store.put(A) == A

    def test_does_not_keep_a_writer_from_its_place(self, store: Store) -> None:
        store.place.write(PATH, b"{")
        assert store.put(A) == A == store.read(A.name)

    def test_that_cannot_be_moved_is_passed_over(
        self, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def forbidden(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Folder, "_move", forbidden)
        store.place.write(PATH, b"{")
        assert list(store.load()) == []
        assert "cannot be moved" in caplog.text
        with pytest.raises(OSError, match="something stands there that is no record and does not go"):
            store.put(A)

    @pytest.mark.parametrize("sound", [encode(A), newer()], ids=["ours", "of a newer mica"])
    def test_was_made_sound_while_another_set_it_aside_goes_back(
        self, store: Store, sound: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Reader one sets the damaged file aside, a writer makes it anew, reader two is late."""
        store.place.write(PATH, b"{")
        real = Folder._move

        def late(self: Folder, name: str, to: str) -> bool:
            monkeypatch.setattr(Folder, "_move", real)
            assert real(self, name, f"{SET_ASIDE}/of-reader-one")
            assert self.create(PATH, sound)
            return real(self, name, to)

        monkeypatch.setattr(Folder, "_move", late)
        assert store.read(A.name) is None
        assert store.place.read(PATH) == sound
        assert store.place.list(SET_ASIDE) == [f"{SET_ASIDE}/of-reader-one"]


def test_a_record_of_a_newer_mica_stands(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.place.write(PATH, newer())
    with pytest.raises(Newer, match=f"newer mica .version {RECORD_VERSION + 1}") as caught:
        store.read(A.name)
    assert caught.value.outcome == "completed"
    assert store.put(A) == A, "it cannot be compared"
    assert list(store.load()) == [] and store.latest(A.key) is None
    assert store.place.read(PATH) == newer() and "it stands" in caplog.text


def test_foreign_files_are_left_alone(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.put(A)
    foreign = [".DS_Store", f"{PATH}.bak", f"{RECORDS}/{A.key}.json", f"{RECORDS}/ab/{A.key}.json",
               f"{RECORDS}/aa/notes.txt", 
               f"{RECORDS}/a0/.nfs0001", f"{FAILURES}/{A.key}/one.json"]  # fmt: skip
    for name in foreign:
        store.place.write(name, b"{")
    leftover = Path(store.place.address, PATH).with_name(".b.json.1234.tmp")
    leftover.write_bytes(b"{")
    assert list(store.load()) == [A] and store.failures() == {} and store.latest(A.key) == A
    assert store.place.list("") == sorted([PATH, *foreign]) and leftover.exists() and not caplog.messages


def test_kept_files_lie_under_the_trial_s_key_each_attempt_s_apart(store: Store, tmp_path: Path) -> None:
    (tmp_path / "kept/deep").mkdir(parents=True)
    assert store.keep(A.key, tmp_path / "kept") is None
    (tmp_path / "kept/deep/masks.npz").write_bytes(b"bits")
    first, second = (store.keep(A.key, tmp_path / "kept") for _ in range(2))
    assert first != second and str(first).startswith(f"kept/{A.key}/")
    assert store.place.read(f"{first}/deep/masks.npz") == b"bits"
    assert list(store.load()) == []
