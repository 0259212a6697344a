"""What every place must do, wherever it is: subclasses name the place."""

import multiprocessing
import os
import pickle
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from mica.sweep.store.place import Place
from mica.sweep.store.places import open_place

ODD = ("a b/ü%#?&.json", "a%20b/c", "q+[]{}^`~;=@'\"$,!", ".hidden/x", "x" * 200, "日本/語")
"""Names below a root: as a user may call a folder, an option, a module."""

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["mica.sweep.store.bucket", "tests.sweep.store.contract"])


def racer(number: int, place: bytes, environment: dict[str, str], start: Any, won: Any, rounds: int) -> None:
    """Create the same names as the others, each as soon as all are there."""
    os.environ.update(environment)
    own = pickle.loads(place)
    for turn in range(rounds):
        start.wait(60)
        won[turn * PROCESSES_AT_ONCE + number] = own.create(f"race/{turn}", b"of process %d" % number)


PROCESSES_AT_ONCE = 8


def soon(what: Callable[[], bool]) -> bool:
    """Whether it is so within two seconds: others' writes may be seen late."""
    until = time.monotonic() + 2
    while not what() and time.monotonic() < until:
        time.sleep(0.05)
    return what()


class PlaceContract:
    """Each test has the fixture `place`, an empty place."""

    impossible = "x" * 5000
    """A name that it cannot have."""

    def test_a_new_place_is_empty(self, place: Place) -> None:
        assert place.list("") == place.list("records") == []
        assert place.read("a/b") is None and place.open("a/b") is None
        assert place.set_aside("a/b") is None
        place.delete("a/b")

    def test_it_is_tried_out_without_a_trace(self, place: Place) -> None:
        place.check()
        assert place.list("") == []

    def test_a_name_is_created_once(self, place: Place) -> None:
        for durable, name in ((True, "a/b/one"), (False, "a/b/two")):
            assert place.create(name, b"first", durable=durable)
            assert not place.create(name, b"second", durable=durable)
            assert place.create(name, b"first", durable=durable), "what stands there is this content"
            assert place.read(name) == b"first"

    def test_of_threads_that_race_one_wins(self, place: Place) -> None:
        start = Barrier(20)

        def create(number: int) -> bool:
            start.wait()
            return place.create("race/threads", b"of thread %d" % number)

        with ThreadPoolExecutor(20) as pool:
            won = list(pool.map(create, range(20)))
        assert sum(won) == 1
        assert place.read("race/threads") == b"of thread %d" % won.index(True)

    def test_of_processes_that_race_one_wins(self, place: Place) -> None:
        rounds = 5
        start = PROCESSES.Barrier(PROCESSES_AT_ONCE)
        won = PROCESSES.Array("b", rounds * PROCESSES_AT_ONCE)
        clouds = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "AZURE_"))}
        given = pickle.dumps(place), clouds, start, won, rounds
        racers = [PROCESSES.Process(target=racer, args=(n, *given)) for n in range(PROCESSES_AT_ONCE)]
        for one in racers:
            one.start()
        for one in racers:
            one.join(120)
            assert one.exitcode == 0
        for turn in range(rounds):
            assert sum(won[turn * PROCESSES_AT_ONCE : (turn + 1) * PROCESSES_AT_ONCE]) == 1

    def test_what_is_written_is_read(self, place: Place) -> None:
        place.write("a/one", b"1")
        place.write("a/one", b"2", durable=False)
        assert place.read("a/one") == b"2"
        place.write("a/none", b"")
        assert place.read("a/none") == b""

    def test_parts_of_a_file_are_read(self, place: Place) -> None:
        content = bytes(range(256)) * 8192  # two megabytes: more than is fetched at once
        place.write("big", content)
        file = place.open("big")
        assert file is not None
        with file:
            assert file.seek(-5, 2) == len(content) - 5 and file.read() == content[-5:]
            assert file.seek(1000) == file.tell() == 1000
            assert bytes(file.read(300)) == content[1000:1300] and file.tell() == 1300
            assert file.read(0) == b""
            file.seek(len(content))
            assert file.read(10) == b""
        assert place.read("big") == content

    def test_a_list_is_of_one_folder_and_sorted(self, place: Place) -> None:
        for name in ("b/2", "b/10", "b/c/1", "bc/1", "a"):
            place.create(name, b"x", durable=False)
        assert place.list("b") == ["b/10", "b/2", "b/c/1"]
        assert place.list("") == ["a", "b/10", "b/2", "b/c/1", "bc/1"]
        assert place.list("a") in ([], ["a"])
        place.delete("b/2")
        assert place.list("b") == ["b/10", "b/c/1"] and place.read("b/2") is None

    def test_what_is_set_aside_is_whole_and_its_name_free(self, place: Place) -> None:
        place.write("records/ab/x.json", b"damaged")
        target = place.set_aside("records/ab/x.json")
        assert target is not None and target.startswith("set-aside/records_ab_x.json-")
        assert place.read(target) == b"damaged"
        assert place.create("records/ab/x.json", b"sound")

    def test_files_and_folders_are_copied_over_what_stands_there(self, place: Place, tmp_path: Path) -> None:
        source = tmp_path / "source"
        (source / "deep").mkdir(parents=True)
        (source / "deep/big").write_bytes(b"0123456789abcdef" * 2**18)
        (source / "one").write_bytes(b"1")
        place.write("to/one", b"before")
        place.upload(source, "to")
        assert place.list("") == ["to/deep/big", "to/one"]
        assert place.read("to/deep/big") == (source / "deep/big").read_bytes()
        place.upload_file(source / "deep/big", "to/one")
        assert place.read("to/one") == (source / "deep/big").read_bytes()
        with pytest.raises(OSError):
            place.upload_file(source / "none", "to/none")

    @pytest.mark.parametrize("name", ODD)
    def test_odd_names_are_names(self, place: Place, name: str) -> None:
        assert place.create(name, b"1") and not place.create(name, b"2")
        assert place.read(name) == b"1" and place.list("") == [name]
        place.delete(name)
        assert place.list("") == []

    def test_it_goes_to_other_processes_and_opens_by_its_address(self, place: Place) -> None:
        place.create("a", b"1")
        for again in (pickle.loads(pickle.dumps(place)), open_place(place.address)):
            assert again.address == place.address
            assert soon(lambda again=again: again.read("a") == b"1")  # type: ignore[misc]

    def test_its_errors_are_the_system_s(self, place: Place) -> None:
        name = self.impossible
        acts: list[Callable[[], object]] = [
            lambda: place.create(name, b""),
            lambda: place.write(name, b""),
            lambda: place.read(name),
            lambda: place.delete(name),
        ]
        for act in acts:
            with pytest.raises(OSError):
                act()
