"""What a driver knows of a store: read once, then told."""

from pathlib import Path

import pytest

from mica.sweep.store.index import Entry, Index
from mica.sweep.store.records import Store
from tests.sweep.sample import record, stored

FAILED = {"outcome": "failed", "error": "Traceback …\nRuntimeError: a bug\n"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """`a` folded and then failed, `b` folded, `c` loose."""
    store = Store(str(tmp_path))
    for key in "ab":
        store.put(stored(key))
    store.fold(at_least=1)
    store.put(stored("a", **FAILED))
    store.put(stored("c", outcome="collapsed"))
    return store


def keys(letters: str) -> set[str]:
    return {stored(letter).key for letter in letters}


def test_the_newest_record_of_each_wanted_trial(store: Store) -> None:
    index = Index(store, keys("abd"))
    assert index.entries == {
        stored("a").key: Entry("failed", (), "RuntimeError: a bug"),
        stored("b").key: Entry("completed", (), None),
    }
    assert index.loose == keys("a")
    assert (index.count("failed"), index.count("collapsed")) == (1, 0)


def test_what_comes_is_told_and_what_others_add_is_read_without_the_rest(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = Index(store, keys("abcd"))
    index.note(stored("a").key, record())
    store.put(stored("d"))
    read: list[str] = []
    monkeypatch.setattr(store, "read", lambda path: read.append(path) or Store.read(store, path))
    index.update()
    assert len(read) == 1 and stored("d").key in read[0]
    assert {entry.outcome for entry in index.entries.values()} == {"completed", "collapsed"}
