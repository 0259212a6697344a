"""Segments and the index: they make reading quick, hide nothing, and are believed while they are whole."""

import logging
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mica.sweep.store import segments as segments_module
from mica.sweep.store.folder import Folder
from mica.sweep.store.index import Entry, Index
from mica.sweep.store.layout import SEGMENTS, SET_ASIDE, record_path
from mica.sweep.store.records import Store
from mica.sweep.store.segments import drop_stale, fold, segments
from mica.sweep.store.stored import Stored, encode
from mica.sweep.store.tables import trials_table, write_tables
from mica.trial import TrialSpec
from tests.sweep.sample import coded, record, stored
from tests.sweep.store.places import BUCKET, s3_server
from tests.sweep.store.test_records import FAILED, newer
from tests.trial.sample import tiny

STARTED = "2026-01-02T00:00:00+00:00"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def number(count: int) -> str:
    """A key: its first digit varies quickest."""
    return f"{count % 16:x}{count:063x}"


def put(store: Store, keys: list[str] | str) -> list[Stored]:
    """Small records, laid down without a sync."""
    items = [stored(key, float(place % 100)) for place, key in enumerate(keys)]
    for item in items:
        store.place.create(record_path(item.name), encode(item), durable=False)
    return items


def everything(store: Store, others: bool = True) -> Index:
    return Index(store, {}, others=others)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the records that are read."""
    found: list[str] = []
    real = Folder.read

    def noted(self: Folder, name: str) -> bytes | None:
        found.append(name)
        return real(self, name)

    monkeypatch.setattr(Folder, "read", noted)
    return found


class TestFold:
    def test_leaves_the_records_and_reads_no_one_of_them_again(self, store: Store, reads: list[str]) -> None:
        items = put(store, [number(n) for n in range(20)])
        before = everything(store).entries
        assert fold(store, at_least=21) == 0 and store.place.list(SEGMENTS) == []
        assert fold(store, at_least=20) == 20 and fold(store, at_least=1) == 0
        assert len(store.names()) == 20 and list(store.load()) == sorted(items, key=lambda item: item.name)
        reads.clear()
        index = everything(store)
        assert index.entries == before and index.loose == 0
        assert trials_table(store, {}).num_rows == 20
        assert not reads, "each of them is in a segment"

    def test_makes_whole_segments_and_merges_the_rest(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(segments_module, "FOLD_FROM", 10)
        for begin in range(0, 55, 11):
            put(store, [number(n) for n in range(begin, begin + 11)])
            fold(store, at_least=1)
        sizes = sorted(len(segment.names) for segment in segments(store.place))
        assert (
            sum(sizes) == 55
            and all(size >= 10 for size in sizes[1:])
            and len(everything(store).entries) == 55
        )

    def test_does_not_trip_over_what_it_cannot_read(self, store: Store) -> None:
        put(store, "ab")
        store.place.write(record_path(stored("c").name), b"{")
        key = "a" + "0" * 63
        store.place.write(record_path(f"{key}-0123456789ab"), newer())
        assert fold(store, at_least=1) == 4
        (segment,) = segments(store.place)
        assert segment.names.to_pylist() == [stored("a").name, stored("b").name]
        assert fold(store, at_least=1) == 1, "the newer one is tried again"
        assert [one.path for one in segments(store.place)] == [segment.path], "and that costs no segment"
        assert everything(store).loose == 1

    def test_by_two_at_once_is_one(self, store: Store) -> None:
        put(store, [number(n) for n in range(64)])
        start = threading.Barrier(4)

        def together(_: int) -> None:
            start.wait()
            fold(Store(store.place.address), at_least=1)

        for count in (64, 80):
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(together, range(4)))
            assert trials_table(store, {}).num_rows == len(everything(store).entries) == count
            put(store, [number(n) for n in range(64, 80)])
        fold(store, at_least=0)
        assert trials_table(store, {}).num_rows == 80

    def test_never_deletes_what_it_has_just_made(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """A merge whose result another driver has made already, and that is among the merged."""
        put(store, "ab")
        fold(store, at_least=1)
        put(store, "c")
        fold(store, at_least=1)
        (path,) = store.place.list(SEGMENTS)
        found = list(segments(store.place))
        monkeypatch.setattr(segments_module, "segments", lambda place: iter(found * 2))
        fold(store, at_least=0)
        assert store.place.list(SEGMENTS) == [path]

    def test_hides_no_record_from_anybody_meanwhile(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Readers look on and on while others add thousands of records, fold them and merge segments."""
        monkeypatch.setattr(segments_module, "FOLD_FROM", 150)
        total, batch = 2000, 250
        put(store, [number(n) for n in range(batch)])
        done, fewer = threading.Event(), []
        least = [batch]

        def look() -> int:
            looks = 0
            while not done.is_set():
                expected = least[0]
                index = everything(Store(store.place.address))
                rows = trials_table(Store(store.place.address), {}).num_rows
                if min(len(index.entries), rows) < expected:
                    fewer.append((len(index.entries), rows, expected))
                looks += 1
            return looks

        with ThreadPoolExecutor(3) as pool:
            readers = [pool.submit(look) for _ in range(2)]
            try:
                for begin in range(batch, total, batch):
                    put(store, [number(n) for n in range(begin, begin + batch)])
                    least[0] = begin + batch
                    others = pool.submit(fold, Store(store.place.address), 1)
                    fold(store, at_least=1)
                    others.result()
            finally:
                done.set()
            assert all(reader.result() >= 2 for reader in readers)
        assert not fewer
        assert len(everything(store).entries) == total


class TestDamage:
    @pytest.fixture
    def folded(self, store: Store) -> str:
        """The one segment of eight records."""
        put(store, "abcdefab")
        for key in "123":
            store.put(coded(key, 1, "aa"))
        fold(store, at_least=1)
        (path,) = store.place.list(SEGMENTS)
        return path

    @pytest.mark.parametrize("damage", ["torn", "foreign", "empty", "a folder", "a link"])
    def test_is_set_aside_and_its_records_are_read_one_by_one(
        self, store: Store, folded: str, damage: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        before, path = everything(store).entries, Path(store.place.address, folded)
        whole = path.read_bytes()
        path.unlink()
        if damage == "a link":
            path.symlink_to("nowhere")
        elif damage == "a folder":  # no name of a file: nobody sees it
            path.mkdir()
        else:
            path.write_bytes({"torn": whole[: len(whole) // 2], "foreign": b"hello", "empty": b""}[damage])
        index = everything(store)
        assert index.entries == before and index.loose == 9
        assert store.place.list(SEGMENTS) == []
        if damage != "a folder":
            assert len(os.listdir(Path(store.place.address, SET_ASIDE))) == 1
            assert "its records are whole" in caplog.text
            assert fold(store, at_least=1) == 9 and store.place.list(SEGMENTS) == [folded]

    def test_of_any_byte_is_noticed_or_changes_nothing(
        self, store: Store, folded: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.CRITICAL)
        path = Path(store.place.address, folded)
        whole, noticed = path.read_bytes(), 0
        entries, table = everything(store).entries, trials_table(store, {})
        layers = [one.read_prefix("a", ["name", "layer_rows"]) for one in segments(store.place)]
        step = max(1, len(whole) // 150)
        for place in range(0, len(whole), step):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
            assert everything(store).entries == entries
            assert trials_table(store, {}).equals(table)
            for one in segments(store.place):
                try:
                    assert one.read_prefix("a", ["name", "layer_rows"]) in layers
                except segments_module.Lost:
                    continue
            noticed += not path.exists()
        assert noticed > 50

    def test_that_cannot_be_moved_keeps_nobody_from_reading(
        self, store: Store, folded: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        entries, rows = everything(store).entries, trials_table(store, {})
        path = Path(store.place.address, folded)
        whole = bytearray(path.read_bytes())
        at = whole.index(b"PAR1") + 1200
        whole[at : at + 200] = bytes(200)
        path.write_bytes(whole)

        def forbidden(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Folder, "_move", forbidden)
        assert everything(store).entries == entries and trials_table(store, {}).equals(rows)

    def test_is_not_suspected_of_what_the_place_does(
        self, store: Store, folded: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        entries, real = everything(store).entries, Folder.open

        def failing(self: Folder, name: str) -> object:
            if name.startswith(SEGMENTS):
                raise OSError(5, "Input/output error")
            return real(self, name)

        monkeypatch.setattr(Folder, "open", failing)
        assert everything(store).entries == entries and "cannot be read now" in caplog.text
        assert store.place.list(SEGMENTS) == [folded] and store.place.list(SET_ASIDE) == []

    def test_a_segment_of_another_kind_is_left_alone(self, store: Store, folded: str) -> None:
        other = f"{SEGMENTS}/00000000-0123456789abcdef-01234567.parquet"
        foreign = f"{SEGMENTS}/.DS_Store"
        for name in (other, foreign):
            store.place.write(name, b"of another mica")
        fold(store, at_least=0)
        drop_stale(store)
        assert {*store.place.list(SEGMENTS)} >= {other, foreign} and store.place.list(SET_ASIDE) == []


class TestStale:
    """Records that somebody has deleted by hand."""

    def test_rows_count_for_nothing_and_go(self, store: Store) -> None:
        put(store, "abc")
        fold(store, at_least=1)
        store.place.delete(record_path(stored("b").name))
        names = {stored("a").key, stored("c").key}
        assert everything(store).entries.keys() == names
        assert set(trials_table(store, {})["trial_key"].to_pylist()) == names
        drop_stale(store)
        assert store.place.list(SEGMENTS) == []
        again = stored("b", 99.0)
        store.put(again)
        assert trials_table(store, {})["test_top1"].to_pylist().count(99.0) == 1

    def test_segments_stay_where_no_row_is(self, store: Store) -> None:
        put(store, "abc")
        fold(store, at_least=1)
        put(store, "de")
        before = store.place.list(SEGMENTS)
        drop_stale(store)
        assert store.place.list(SEGMENTS) == before != []

    def test_rows_are_not_merged(self, store: Store) -> None:
        put(store, "abc")
        fold(store, at_least=1)
        store.place.delete(record_path(stored("b").name))
        put(store, "d")
        fold(store, at_least=1)
        (segment,) = segments(store.place)
        assert segment.names.to_pylist() == [stored(key).name for key in "acd"]


class TestIndex:
    def trials(self, keys: str) -> dict[str, TrialSpec]:
        return {stored(key).key: tiny() for key in keys}

    def test_of_the_wanted_trials(self, store: Store, reads: list[str]) -> None:
        put(store, "ab")
        fold(store, at_least=1)
        store.put(stored("a", **FAILED))
        store.put(stored("c", outcome="collapsed"))
        store.put(stored("d", **FAILED))
        store.put(stored("f"))
        reads.clear()
        index = Index(store, self.trials("abde"))
        seconds = pytest.approx(0.6)
        assert index.entries == {
            stored("a").key: Entry(stored("a").name, "completed", (), STARTED, seconds),
            stored("b").key: Entry(stored("b").name, "completed", (), STARTED, seconds),
            stored("d").key: Entry(stored("d").name, "failed", (), STARTED, seconds, "RuntimeError: a bug"),
        }
        assert index.loose == 2 and len(reads) == 1, "the failure alone"
        assert index.count("completed") == 2 and index.count("failed") == 1

    def test_reads_what_is_new_and_nothing_twice(self, store: Store, reads: list[str]) -> None:
        put(store, "ab")
        index = Index(store, self.trials("abcd"))
        index.note(stored("c"))
        store.put(stored("c"))
        store.put(stored("d"))
        store.put(stored("e"))
        reads.clear()
        assert index.update() == [stored("d").key]
        assert reads == [record_path(stored("d").name)]
        assert index.update() == [] and len(reads) == 1
        for _ in range(2):
            store.put(stored("a", **FAILED))
        assert index.update() == [] and index.entries[stored("a").key].outcome == "completed"

    def test_a_failure_is_news_each_time_and_a_record_ends_them(self, store: Store) -> None:
        index = Index(store, self.trials("a"))
        for attempt in (1, 2):
            assert not index.failed_anew(stored("a").key)
            store.put(stored("a", **FAILED | {"error": f"Error: {attempt}"}))
            assert index.failed_anew(stored("a").key)
            assert index.update() == [stored("a").key]
            assert index.entries[stored("a").key].reason == f"Error: {attempt}"
        store.put(stored("a"))
        assert index.update() == [stored("a").key]
        assert index.stored(stored("a").key) == stored("a")

    def test_of_a_trial_s_records_the_one_of_the_code_that_is_there_now(self, store: Store) -> None:
        old, new, newest = (
            coded("a", n, digest, f"2026-0{n}-01") for n, digest in ((1, "aa"), (2, "bb"), (3, "cc"))
        )
        for item in (newest, old, new):
            store.put(item)
        for at_least in (100, 1):
            fold(store, at_least)
            assert everything(store).entries[newest.key].name == newest.name
            index = Index(store, {old.key: old.record.spec})
            assert index.entries[old.key].name == old.name and index.stored(old.key) == old

    def test_what_a_newer_mica_made_is_done(self, store: Store) -> None:
        path = record_path(stored("a").name)
        store.place.write(path, newer())
        index = Index(store, self.trials("a"))
        assert index.entries[stored("a").key].outcome == "completed"
        assert index.stored(stored("a").key) is None and index.update() == []
        assert trials_table(store, {}).num_rows == 0

    def test_what_was_set_aside_is_news_when_it_is_made_anew(self, store: Store) -> None:
        store.place.write(record_path(stored("a").name), b"{")
        index = Index(store, self.trials("a"))
        assert index.entries == {} and index.update() == []
        store.put(stored("a"))
        assert index.update() == [stored("a").key]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with s3_server():
        yield f"s3://{BUCKET}/store"


class TestObjects:
    """On S3, where files are fetched in parts."""

    @pytest.mark.parametrize("at_once", [1 << 20, 0])
    def test_segments_and_tables_are_those_of_a_folder(
        self, address: str, store: Store, at_once: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from mica.sweep.store import bucket

        monkeypatch.setattr(bucket, "_AT_ONCE_BYTES", at_once)
        objects = Store(f"{address}-{at_once}")
        for one in (objects, store):
            for key in "abc":
                one.put(stored(key))
            assert fold(one, at_least=1) == 3
            one.put(stored("d", **FAILED))
            write_tables(one, {})
        assert len(list(segments(objects.place))) == 1 and objects.place.list(SET_ASIDE) == []
        assert everything(objects).entries == everything(store).entries
        assert trials_table(objects, {}).equals(trials_table(store, {}))
        file = objects.place.open("tables/epochs.parquet")
        assert pq.read_table(file).equals(pq.read_table(Path(store.place.address, "tables/epochs.parquet")))

    def test_a_segment_that_is_merged_while_it_is_read_hides_nothing(
        self, address: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from mica.sweep.store import bucket, tables

        monkeypatch.setattr(bucket, "_AT_ONCE_BYTES", 0)
        objects = Store(f"{address}-merged")
        for key in "abc":
            objects.put(stored(key))
        fold(objects, at_least=1)
        real = tables.Rows.trials

        def late(self: tables.Rows) -> object:
            monkeypatch.setattr(tables.Rows, "trials", real)
            objects.put(stored("d"))
            fold(objects, at_least=1)
            return real(self)

        monkeypatch.setattr(tables.Rows, "trials", late)
        assert trials_table(objects, {}).num_rows == 4
        assert objects.place.list(SET_ASIDE) == []


def test_a_record_is_found_among_the_segments_of_a_real_trial(store: Store) -> None:
    made = record(spec=tiny(seed=2**40))
    store.put(Stored(made.spec.key, "tiny", made))
    fold(store, at_least=1)
    assert trials_table(store, {})["seed"].to_pylist() == [2**40]
