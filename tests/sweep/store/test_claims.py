"""Claims and signs of life: who runs what, judged by nobody's wall clock; of those who race one wins."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import mica.sweep.store
from mica.sweep.drive.source import GridSource
from mica.sweep.store import driver as driver_module
from mica.sweep.store.claims import Claims
from mica.sweep.store.driver import Driver, Watch, read_beat
from mica.sweep.store.folder import Folder
from mica.sweep.store.index import Index
from mica.sweep.store.layout import CLAIMS, DRIVERS, claim_path, driver_path
from mica.sweep.store.place import Place, Unreachable
from mica.sweep.store.records import Store
from mica.sweep.store.stored import Stored
from mica.trial import TrialSpec
from tests.sweep.sample import record
from tests.trial.sample import tiny

SECONDS = 60.0
ELSEWHERE = {"machine": "another boot", "pid": 1, "born": "1"}


class Clock:
    """An observer's own."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def place(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "store"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


def claims(place: Place, clock: Clock | None = None, seconds: float = SECONDS) -> Claims:
    """Those of a driver that never beats by itself."""
    driver = Driver(place, "tiny", seconds)
    return Claims(place, driver, Watch(place, seconds, clock or Clock()))


def beat(place: Place, driver: str, number: object = 1, **said: object) -> None:
    """A sign of life, as by a driver on another machine."""
    content = {"driver": driver, "beat": number, **ELSEWHERE, **said}
    place.write(driver_path(driver), json.dumps(content).encode())


def id_of(made: Claims) -> str:
    return made._driver.id


class TestClaims:
    def test_of_drivers_that_race_one_takes_a_trial(self, place: Folder) -> None:
        rivals = [claims(place) for _ in range(12)]
        start = threading.Barrier(len(rivals))

        def take(own: Claims) -> bool:
            start.wait()
            return own.take("k")

        with ThreadPoolExecutor(len(rivals)) as pool:
            won = list(pool.map(take, rivals))
        assert sum(won) == 1 and place.list(CLAIMS) == [claim_path("k", 1)]
        assert all(own.free("k") == one for own, one in zip(rivals, won, strict=True))

    def test_a_dead_driver_s_trial_is_taken_over_by_one_of_many(self, place: Folder, clock: Clock) -> None:
        dead, *rivals = [claims(place, clock) for _ in range(6)]
        beat(place, id_of(dead))
        assert dead.take("k")
        for own in rivals:
            own.look()
            assert not own.free("k")
        for _ in range(7):
            clock.now += SECONDS / 6
            for own in rivals:
                own.look()
        assert all(own.free("k") for own in rivals)
        assert [own.take("k") for own in rivals] == [True, False, False, False, False]
        assert place.list(CLAIMS) == [claim_path("k", 1), claim_path("k", 2)]

    def test_who_was_taken_over_hears_of_it_once_and_lets_the_other_be(self, place: Folder) -> None:
        zombie, other = claims(place), claims(place)
        assert zombie.take("k")
        place.create(claim_path("k", 2), json.dumps({"driver": id_of(other)}).encode())
        beat(place, id_of(other))
        zombie.look()
        assert (zombie.lost(), zombie.lost()) == (["k"], [])
        zombie.look()
        assert zombie.lost() == []
        zombie.drop_all()
        assert place.list(CLAIMS) == [claim_path("k", 2)], "the other's"
        zombie.look()
        assert not zombie.free("k")

    def test_what_is_given_up_begins_anew_for_all(self, place: Folder) -> None:
        one, two, three = (claims(place) for _ in range(3))
        assert one.take("k")
        one.look()
        for own in (two, three):
            beat(place, id_of(one))
            own.look()
        one.drop(["k", "never held"])
        assert place.list(CLAIMS) == []
        two.look()
        assert two.free("k") and two.take("k")
        assert not one.take("k"), "it counts no further from what is gone"
        beat(place, id_of(two))
        place.delete(driver_path(id_of(one)))
        for _ in range(20):  # the name is of another's claim now
            three.look()
        assert not three.free("k")

    def test_a_claim_that_was_made_anew_by_another_is_the_other_s(self, place: Folder, clock: Clock) -> None:
        dead, other, observer = claims(place, clock), claims(place, clock), claims(place, clock)
        assert dead.take("k")
        observer.look()
        place.delete(claim_path("k", 1))
        assert other.take("k")
        for number in range(10):
            beat(place, id_of(other), number)
            clock.now += SECONDS / 6
            observer.look()
        assert not observer.free("k")

    @pytest.mark.parametrize("content", [
        b"", b"{", b"[]", b"[" * 100_000, b'{"driver": 5}', b'{"driver": null}', b'{"driver": "../claims/x"}',
        b'{"driver": "\\u0000"}', b'{"driver": {}}', b"\xff",
    ])  # fmt: skip
    def test_one_that_says_nothing_sound_is_over_after_its_time(
        self, place: Folder, clock: Clock, content: bytes
    ) -> None:
        place.write(claim_path("k", 7), content)
        place.write(f"{CLAIMS}/x.json", b"whose?")
        own = claims(place, clock)
        own.look()
        assert not own.free("k"), "it may not be seen whole yet"
        for _ in range(7):
            clock.now += SECONDS / 6
            own.look()
        assert own.free("k")
        own.tidy({"k"})
        assert place.list("") == [f"{CLAIMS}/x.json"]

    def test_no_file_in_a_claim_s_place_is_passed_over(self, place: Folder, clock: Clock) -> None:
        path = Path(place.address, claim_path("k", 1))
        path.parent.mkdir(parents=True)
        path.symlink_to("nowhere")
        os.mkfifo(path.with_name("q-000001.json"))
        own = claims(place, clock)
        own.look()
        assert not own.free("k") and not own.free("q") and own.free("r")

    def test_one_that_was_made_though_its_maker_never_heard_so_is_its_maker_s(
        self, place: Folder, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own, other = claims(place, clock), claims(place, clock)
        beat(place, id_of(own))

        def losing(*given: object, **named: object) -> bool:
            Folder.create(place, *given, **named)  # type: ignore[arg-type]
            raise Unreachable("the answer is lost")

        with monkeypatch.context() as patch:
            patch.setattr(place, "create", losing)
            with pytest.raises(Unreachable):
                own.take("a")
        own.look()
        other.look()
        assert own.free("a") and not other.free("a")
        assert own.take("a")
        own.drop(["a"])
        assert not place.list(CLAIMS)

    def test_what_the_dead_have_left_is_tidied_away_and_nothing_of_the_living(
        self, place: Folder, clock: Clock
    ) -> None:
        dead, heir, alive, own = (claims(place, clock) for _ in range(4))
        for one in (dead, alive):
            beat(place, id_of(one))
        assert dead.take("done") and dead.take("missing") and dead.take("inherited") and alive.take("its own")
        own.look()
        for number in range(8):
            beat(place, id_of(alive), number + 2)
            clock.now += SECONDS / 6
            own.look()
            heir.look()
        assert heir.take("inherited")
        own.tidy({"done", "its own"})
        left = {claim_path(what, 1) for what in ("missing", "inherited", "its own")}
        assert {*place.list(CLAIMS)} == left | {claim_path("inherited", 2)}
        assert place.list(DRIVERS) == [driver_path(id_of(alive))]

    def test_a_file_in_the_folder_s_place_is_an_error_not_a_rival(self, place: Folder) -> None:
        place.write(CLAIMS, b"")
        with pytest.raises(OSError):
            claims(place).take("k")


class TestWatch:
    def test_only_the_observer_s_own_time_counts(
        self, place: Folder, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        watch = Watch(place, SECONDS, clock)
        beat(place, "a" * 12, every=1e9, time=0)
        wall = [0.0]
        monkeypatch.setattr(time, "time", lambda: wall[0])
        path = Path(place.address, driver_path("a" * 12))
        for step in range(60):
            wall[0] = (-1) ** step * 1e9  # nobody's clock on the wall
            os.utime(path, (wall[0] % 4e9, wall[0] % 4e9))
            assert watch.lives("a" * 12)
            clock.now += 1
        clock.now += 1
        assert not watch.lives("a" * 12)
        beat(place, "a" * 12, 2)
        assert watch.lives("a" * 12), "it is there again"

    def test_who_slept_has_not_watched(self, place: Folder, clock: Clock) -> None:
        watch = Watch(place, SECONDS, clock)
        beat(place, "a" * 12)
        assert watch.lives("a" * 12)
        clock.now += 100 * SECONDS
        assert watch.lives("a" * 12)

    def test_another_number_is_a_beat_whatever_it_is(self, place: Folder, clock: Clock) -> None:
        watch = Watch(place, SECONDS, clock)
        for number in [5, 4, "x", None, [1], {"a": 1}] * 20:
            beat(place, "a" * 12, number)
            clock.now += SECONDS
            assert watch.lives("a" * 12)

    def test_a_dead_process_of_this_machine_is_dead_at_once(self, place: Folder, clock: Clock) -> None:
        ended = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        machine = driver_module._machine()["machine"]
        beat(place, "a" * 12, machine=machine, pid=ended.pid, born=driver_module._born(ended.pid))
        watch = Watch(place, SECONDS, clock)
        assert watch.lives("a" * 12)
        ended.kill()
        while driver_module._born(ended.pid):  # dead, and not collected
            time.sleep(0.01)
        assert not watch.lives("a" * 12)
        ended.wait()
        assert not watch.lives("a" * 12)

    def test_another_process_of_its_number_is_not_it(self, place: Folder, clock: Clock) -> None:
        machine = driver_module._machine()["machine"]
        beat(place, "a" * 12, machine=machine, pid=os.getpid(), born="12345")
        assert not Watch(place, SECONDS, clock).lives("a" * 12)

    @pytest.mark.parametrize("pid", [2**31, 2**64, -1, 0, 10**4000, "x", None, 1.5, [], {}])
    def test_no_number_of_a_process_is_too_odd(self, place: Folder, clock: Clock, pid: object) -> None:
        machine = driver_module._machine()["machine"]
        beat(place, "a" * 12, machine=machine, pid=pid, born="1")
        alive = Watch(place, SECONDS, clock).lives("a" * 12)
        assert alive == (not isinstance(pid, int)), "whoever is no process of ours is waited for"

    @pytest.mark.parametrize("content", [b"", b"{", b"null", b"7", b"[" * 100_000, b"\xff\x00", b"1" * 5000])
    def test_garbage_is_no_sign_of_life_and_no_death(
        self, place: Folder, clock: Clock, content: bytes
    ) -> None:
        place.write(driver_path("a" * 12), content)
        watch = Watch(place, SECONDS, clock)
        assert read_beat(place, "a" * 12) is None and watch.lives("a" * 12)
        for _ in range(7):
            clock.now += SECONDS / 6
            last = watch.lives("a" * 12)
        assert not last

    def test_no_file_in_its_place_is_none(self, place: Folder, clock: Clock) -> None:
        Path(place.address, driver_path("a" * 12)).mkdir(parents=True)
        assert Watch(place, SECONDS, clock).lives("a" * 12)


class TestDriver:
    def test_it_beats_while_it_works_and_leaves_nothing(self, place: Folder) -> None:
        with Driver(place, "tiny", 0.06) as driver:
            driver.show(lambda: {"epoch": 7})
            until = time.monotonic() + 30
            while (said := read_beat(place, driver.id) or {}).get("beat", 0) < 4 or "epoch" not in said:
                assert time.monotonic() < until
                time.sleep(0.01)
            assert (said["pid"], said["sweep"], said["epoch"]) == (os.getpid(), "tiny", 7)
        assert place.list("") == []

    def test_nothing_that_goes_wrong_stops_its_beats(
        self, place: Folder, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        troubles: Iterator[object] = iter([object(), KeyError("a bug"), OSError("a full disk")])

        def show() -> dict[str, object]:
            trouble = next(troubles, 7)
            if isinstance(trouble, Exception):
                raise trouble
            return {"epoch": trouble}

        with Driver(place, "tiny", 0.06) as driver:
            driver.show(show)
            until = time.monotonic() + 30
            while (read_beat(place, driver.id) or {}).get("epoch") != 7:
                assert time.monotonic() < until
                time.sleep(0.01)
        assert caplog.text.count("a sign of life could not be written") >= 3

    def test_it_leaves_when_the_place_has_gone(self, place: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
        def away(*_: object, **__: object) -> None:
            raise OSError("gone")

        with pytest.raises(KeyError), Driver(place, "tiny", 600):
            monkeypatch.setattr(Folder, "delete", away)
            raise KeyError


def test_no_wall_clock_is_read_in_the_store() -> None:
    folder = Path(str(mica.sweep.store.__file__)).parent
    for path in [*folder.glob("*.py"), folder.parent / "drive/source.py"]:
        assert not [
            word for word in ("time.time(", "datetime.now", "st_mtime") if word in path.read_text()
        ], path


class TestGridSource:
    """Several drivers on one grid."""

    @pytest.fixture
    def trials(self) -> dict[str, TrialSpec]:
        return {spec.key: spec for spec in (tiny(seed=seed) for seed in range(6))}

    def source(
        self, place: Folder, trials: dict[str, TrialSpec], clock: Clock
    ) -> tuple[GridSource, Claims, list[str]]:
        heard: list[str] = []
        own = claims(place, clock)
        beat(place, id_of(own))
        store = Store(place.address)
        return GridSource(trials, Index(store, trials), own, heard.extend, clock), own, heard

    def test_drivers_share_the_trials_and_hear_of_each_other_s(
        self, place: Folder, trials: dict[str, TrialSpec], clock: Clock
    ) -> None:
        store = Store(place.address)
        (one, _, of_two), (two, _, of_one) = (self.source(place, trials, clock) for _ in range(2))
        given: list[str] = []
        for turn in range(6):
            clock.now += 1
            source = (one, two)[turn % 2]
            spec = source.ask()
            assert spec is not None
            given.append(spec.key)
            made = record(spec=spec)
            store.put(Stored(spec.key, "tiny", made))
            source.tell(made)
        assert sorted(given) == sorted(trials)
        clock.now += 60
        assert one.ask() is None and two.ask() is None
        assert one.over() and two.over()
        assert sorted(of_two) == sorted(given[1::2]) and sorted(of_one) == sorted(given[::2])
        assert place.list(CLAIMS) == []

    def test_what_another_is_at_is_waited_for_and_taken_over_when_it_dies(
        self, place: Folder, trials: dict[str, TrialSpec], clock: Clock
    ) -> None:
        (dead, _, _), (own, _, heard) = (self.source(place, trials, clock) for _ in range(2))
        while dead.ask() is not None:
            pass
        assert own.ask() is None and not own.over()
        for _ in range(6):
            clock.now += SECONDS / 6
            assert own.ask() is None
        clock.now += SECONDS / 6
        assert {spec.key for _ in trials if (spec := own.ask())} == set(trials)
        assert own.over() and not heard

    def test_a_failure_of_another_s_is_the_end_of_its_trial(
        self, place: Folder, trials: dict[str, TrialSpec], clock: Clock
    ) -> None:
        (one, _, _), (two, _, heard) = (self.source(place, trials, clock) for _ in range(2))
        spec = one.ask()
        assert spec is not None
        bad = record(spec=spec, outcome="failed", error="E")
        Store(place.address).put(Stored(spec.key, "tiny", bad))
        one.tell(bad)
        other = two.ask()  # which has not looked since
        assert heard == [spec.key] and other is not None and other != spec

    def test_two_whose_records_could_not_be_written_do_not_wait_for_each_other(
        self, place: Folder, trials: dict[str, TrialSpec], clock: Clock
    ) -> None:
        one, two = (self.source(place, trials, clock)[0] for _ in range(2))
        given = {source: source.ask() for source in (one, two)}
        while one.ask() is not None:
            pass
        for source, spec in given.items():
            assert spec is not None
            source.lose(spec)
            assert not source.over()
        clock.now += 2
        again = [two.ask() for _ in range(3)]
        assert {spec and spec.key for spec in again} == {
            spec and spec.key for spec in (*given.values(), None)
        }

    def test_a_store_that_does_not_answer_is_asked_again_for_a_while(
        self, place: Folder, trials: dict[str, TrialSpec], clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source, own, _ = self.source(place, trials, clock)

        def away(what: str) -> bool:
            raise OSError("away")

        with monkeypatch.context() as patch:
            patch.setattr(own, "take", away)
            assert source.ask() is None
            clock.now += 300
            assert source.ask() is None
        clock.now += 6
        assert source.ask() is not None
        monkeypatch.setattr(own, "take", away)
        assert source.ask() is None
        clock.now += 601
        with pytest.raises(OSError, match="away"):
            source.ask()
