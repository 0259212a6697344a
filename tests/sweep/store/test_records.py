"""The store: whole records or none, on any file system; nothing foreign is read as a record."""

import json
import logging
import multiprocessing
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from mica.errors import UserError
from mica.sweep.store import records as store_module
from mica.sweep.store.folder import Folder
from mica.sweep.store.layout import RECORDS, SEGMENTS, SET_ASIDE, record_path
from mica.sweep.store.records import Store
from mica.trial.record import RECORD_VERSION
from tests.sweep.sample import stored


def local_store(folder: Path) -> Store:
    return Store(str(folder / "results"))


def uri_store(folder: Path) -> Store:
    return Store((folder / "results").as_uri())


def object_store(folder: Path) -> Store:
    """One that is no local folder: objects appear whole and need no folders, as in S3."""
    objects = Store("mock:///bucket")
    memory = fsspec.filesystem("memory", skip_instance_cache=True)
    memory.store, memory.pseudo_dirs = {}, [""]
    objects.folder._fs, objects.folder._root = fs.PyFileSystem(fs.FSSpecHandler(memory)), "/bucket"
    return objects


@pytest.fixture(params=[local_store, uri_store, object_store])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return request.param(tmp_path)


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return local_store(tmp_path)


class TestAnyStore:
    """What every kind of store must do."""

    def test_a_new_store_is_empty(self, store: Store) -> None:
        assert store.load() == {}
        assert store.loose("a" * 64) is None

    def test_a_record_comes_back_as_it_was(self, store: Store) -> None:
        store.put(stored("a", 61.5))
        assert store.loose(stored("a").key) == stored("a", 61.5)
        assert store.load() == {stored("a").key: stored("a", 61.5)}

    def test_a_record_replaces_the_one_of_its_key(self, store: Store) -> None:
        for top1 in (1.0, 2.0):
            store.put(stored("a", top1))
        assert store.load() == {stored("a").key: stored("a", 2.0)}

    def test_only_files_of_our_names_are_left(self, store: Store) -> None:
        for key in ("a", "b"):
            store.put(stored(key))
        assert store.folder.list("") == [record_path(stored(key).key) for key in ("a", "b")]

    def test_folded_records_are_the_same_records(self, store: Store) -> None:
        items = {item.key: item for item in (stored(f"{n:02x}", n) for n in range(20))}
        for item in items.values():
            store.put(item)
        assert store.fold(at_least=21) == 0
        assert store.fold(at_least=20) == 20
        assert store.folder.list(RECORDS) == [] and len(store.folder.list(SEGMENTS)) == 1
        assert store.load() == items
        assert not any(store.loose(key) for key in items)
        assert store.fold(at_least=1) == 0

    def test_the_newest_record_wins_wherever_it_lies(self, store: Store) -> None:
        for top1 in range(12):  # more than ten segments: their order is not that of one digit
            store.put(stored("a", top1))
            store.fold(at_least=1)
            assert store.load()[stored("a").key].record.results.test_top1 == top1
        store.put(stored("a", 99))
        assert store.load()[stored("a").key] == store.loose(stored("a").key) == stored("a", 99)
        assert len(store.folder.list(SEGMENTS)) == 12

    def test_a_stop_between_segment_and_deletion_leaves_every_record(self, store: Store) -> None:
        """The loose files come back, as if the driver had died before it deleted them."""
        items = [stored("a", 1), stored("b", 2)]
        for item in items:
            store.put(item)
        loose = {path: store.folder.read(path) for path in store.folder.list(RECORDS)}
        store.fold(at_least=1)
        for path, content in loose.items():
            store.folder.write(path, content)
        assert store.load() == {item.key: item for item in items}
        store.fold(at_least=1)
        assert store.load() == {item.key: item for item in items}
        assert store.folder.list(RECORDS) == []

    def test_a_torn_record_is_set_aside_and_runs_again(self, store: Store) -> None:
        for key in ("a", "b"):
            store.put(stored(key))
        path = record_path(stored("a").key)
        whole = store.folder.read(path)
        store.folder.write(path, whole[: len(whole) // 2])
        assert store.load() == {stored("b").key: stored("b")}
        assert [name.startswith(SET_ASIDE) for name in store.folder.list(SET_ASIDE)] == [True]
        assert store.folder.read(store.folder.list(SET_ASIDE)[0]) == whole[: len(whole) // 2]
        store.put(stored("a"))
        assert len(store.load()) == 2

    def test_kept_files_lie_under_the_trial_s_key(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "kept" / "deep").mkdir(parents=True)
        (tmp_path / "kept" / "deep" / "masks.npz").write_bytes(b"bits")
        store.keep("abc", tmp_path / "kept")
        assert store.folder.read("kept/abc/deep/masks.npz") == b"bits"
        assert store.load() == {}

    def test_writability_is_found_out_without_a_trace(self, store: Store) -> None:
        store.folder.check_writable()
        assert store.folder.list("") == []


def damaged(change) -> bytes:
    """The file of a record with something changed inside, under a checksum that is right again."""
    envelope = json.loads(store_module._encode(stored("a")))
    body = json.loads(envelope["body"])
    change(body)
    text = json.dumps(body)
    return json.dumps({"checksum": store_module._checksum(text), "body": text}).encode()


def flipped() -> bytes:
    content = store_module._encode(stored("a"))
    assert b"45.0" in content
    return content.replace(b"45.0", b"46.0", 1)


@pytest.mark.parametrize("content", [
    b"", b"{", b"null", b"[]", b"{}", b"\xff\xfe\x00", b"hello", b'{"checksum": 1, "body": 2}',
    b'{"checksum": "x", "body": "{}"}', flipped(),
    damaged(lambda body: body.pop("record")),
    damaged(lambda body: body["record"].pop("outcome")),
    damaged(lambda body: body["record"].update(outcome="splendid")),
    damaged(lambda body: body["record"].update(unknown=1)),
    damaged(lambda body: body["record"].update(version="two")),
    damaged(lambda body: body.update(key="f" * 64)),
])  # fmt: skip
def test_what_is_no_sound_record_is_set_aside_and_reported(
    local: Store, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    local.put(stored("b"))
    path = record_path(stored("a").key)
    local.folder.write(path, content)
    assert local.load() == {stored("b").key: stored("b")}
    assert local.folder.read(path) is None
    assert [local.folder.read(name) for name in local.folder.list(SET_ASIDE)] == [content]
    (message,) = caplog.messages
    assert path in message and "is no sound record" in message
    assert caplog.records[0].levelno == logging.WARNING


def test_a_record_under_another_key_is_not_that_key_s(local: Store) -> None:
    local.put(stored("a"))
    local.folder.move(record_path(stored("a").key), record_path(stored("b").key))
    assert local.loose(stored("b").key) is None


def test_a_record_of_a_newer_mica_stops_the_reader_and_stays(local: Store) -> None:
    path = record_path(stored("a").key)
    newer = damaged(lambda body: body["record"].update(version=RECORD_VERSION + 1, more="fields"))
    local.folder.write(path, newer)
    for read in (local.load, lambda: local.loose(stored("a").key), lambda: local.fold(at_least=1)):
        with pytest.raises(UserError, match=f"newer mica .version {RECORD_VERSION + 1}.*update mica"):
            read()
    assert local.folder.read(path) == newer


@pytest.fixture
def segments(local: Store) -> list[str]:
    """Three segments, of the keys a to c, d to f, and g to i."""
    for keys in ("abc", "def", "ghi"):
        for key in keys:
            local.put(stored(key))
        local.fold(at_least=1)
    return local.folder.list(SEGMENTS)


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b"hello"])
def test_a_damaged_segment_is_set_aside_and_the_others_are_read(
    local: Store, segments: list[str], damage
) -> None:
    local.folder.write(segments[1], damage(local.folder.read(segments[1])))
    assert {key[0] for key in local.load()} == set("abcghi")
    assert local.folder.list(SEGMENTS) == [segments[0], segments[2]]
    assert len(local.folder.list(SET_ASIDE)) == 1


def test_whatever_byte_of_a_segment_is_flipped_no_record_is_read_wrong(
    local: Store, segments: list[str]
) -> None:
    whole, content = local.load(), local.folder.read(segments[1])
    lost = 0
    for place in range(0, len(content), 41):
        rotten = content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]
        local.folder.write(segments[1], rotten)
        found = local.load()
        assert all(whole[key] == item for key, item in found.items())
        assert {key[0] for key in found} >= set("abcghi")
        lost += len(found) < len(whole)
    assert lost


def test_one_bad_record_of_a_segment_does_not_take_the_others_along(
    local: Store, segments: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    table = pq.read_table(local.folder.local / segments[1])
    contents = [flipped(), b"hello", table["record"][2].as_py()]
    pq.write_table(table.set_column(0, "record", [contents]), local.folder.local / segments[1])
    assert {key[0] for key in local.load()} == set("abcfghi")
    assert local.folder.list(SEGMENTS) == segments
    assert len(caplog.messages) == 2 and all(segments[1] in message for message in caplog.messages)


def test_a_new_segment_comes_after_all_others_even_when_one_was_set_aside(
    local: Store, segments: list[str]
) -> None:
    local.folder.write(segments[0], b"hello")
    for top1 in (1, 2, 3):
        local.put(stored("i", top1))
        local.fold(at_least=1)
        assert local.load()[stored("i").key] == stored("i", top1)


def test_unsound_loose_files_are_not_folded(local: Store) -> None:
    local.put(stored("a"))
    local.folder.write(record_path(stored("b").key), b"{")
    assert local.fold(at_least=1) == 1
    assert local.folder.list(SET_ASIDE) and not local.folder.list(RECORDS)


def test_a_failed_write_leaves_what_was_there(local: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    local.put(stored("a", 1))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        local.put(stored("a", 2))
    assert local.load() == {stored("a").key: stored("a", 1)}
    assert [path.name for path in local.folder.local.rglob("*") if path.is_file()] == [
        f"{stored('a').key}.json"
    ]


def test_temporary_files_of_a_killed_writer_are_no_records(local: Store) -> None:
    local.put(stored("a"))
    leftover = local.folder.local / record_path(stored("a").key)
    leftover.with_name(".b.json.1234.tmp").write_bytes(b"{")
    assert list(local.load()) == [stored("a").key]
    assert local.folder.list(SET_ASIDE) == []


def put_often(place: str, top1: float, times: int) -> None:
    for _ in range(times):
        Store(place).put(stored("a", top1))


def test_two_processes_that_write_one_key_leave_a_whole_record(local: Store) -> None:
    fork = multiprocessing.get_context("fork")
    place = local.folder.place
    local.put(stored("a", 1))
    writers = [fork.Process(target=put_often, args=(place, top1, 100)) for top1 in (1.0, 2.0)]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        found = local.loose(stored("a").key)
        assert found in (stored("a", 1), stored("a", 2))
        seen.add(found.record.results.test_top1)
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert seen == {1.0, 2.0}
    assert local.folder.list(SET_ASIDE) == []
    assert len(local.folder.list("")) == 1


@pytest.mark.parametrize("place", ["nosuch://bucket/x", "s3://bucket/x?nonsense=1"])
def test_a_place_that_cannot_be_understood(place: str) -> None:
    with pytest.raises(UserError, match="cannot be opened"):
        Folder(place)


def test_a_place_with_an_unset_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MICA_NOWHERE", raising=False)
    with pytest.raises(UserError, match="the environment variable MICA_NOWHERE is not set"):
        Folder("$MICA_NOWHERE/results")


def test_a_place_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"storage .*: cannot be read: .*too long"):
        Store(str(tmp_path / ("x" * 300))).load()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        Folder(str(tmp_path / "file" / "results")).check_writable()


def test_a_place_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=f"storage {tmp_path}/file: is a file; allowed is a folder"):
        Folder(str(tmp_path / "file"))
