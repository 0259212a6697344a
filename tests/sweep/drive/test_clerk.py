"""The clerk, at a desk in this process: no lane waits for it, and it lays down no more than it must."""

import pickle
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mica.errors import SweepIncomplete
from mica.sweep.drive.clerk import Clerk, Course, row_of
from mica.sweep.drive.desk import Desk, Ended
from mica.sweep.drive.executor import Job
from mica.sweep.drive.progress import Place, Report, Running
from mica.sweep.drive.source import Wanted, any_trial
from mica.sweep.drive.stopping import Stopping
from mica.sweep.plan.spec import Resources, Times
from mica.sweep.store.records import Store
from mica.sweep.store.stored import Newer, Stored
from mica.trial import Record, TrialSpec
from tests.sweep.sample import record, records_of
from tests.trial.sample import tiny


class Listed:
    """A source of trials that nobody else runs."""

    def __init__(self, trials: list[TrialSpec]) -> None:
        self._left = trials

    def ask(self, wanted: Wanted = any_trial) -> TrialSpec | None:
        return self._left.pop(0) if self._left else None

    def tell(self, record: Record) -> None:
        pass

    def lose(self, spec: TrialSpec) -> None:
        self._left.append(spec)

    def over(self, wanted: Wanted = any_trial) -> bool:
        return not self._left


class Bench:
    """A desk with lanes that are threads, whose trials take as long as they are told to."""

    def __init__(self, folder: Path, trials: int, lanes: int, seconds: float) -> None:
        self.store = Store(str(folder))
        self.desk, self.lanes, self.seconds = Desk(attempts=2), lanes, seconds
        self.source = Listed([tiny(seed=seed) for seed in range(trials)])
        self.stopping = Stopping()
        self.heard: list[Record] = []
        self.told: list[list[Running]] = []
        self.waits = self.most_waiting = 0
        self._lock = threading.Lock()

    @contextmanager
    def clerk(self) -> Iterator[Course]:
        job = Job("tiny", self.store, {}, Resources(), Times())
        clerk = Clerk(
            self,
            self.source,
            job,
            self.heard.append,
            self.stopping,
            self.told.append,
            device="cpu",
            lanes=self.lanes,
        )
        with clerk as course:
            yield course

    def run(self) -> None:
        with self.clerk():
            lanes = [threading.Thread(target=self._lane, args=(lane,)) for lane in range(self.lanes)]
            for lane in lanes:
                lane.start()
            for lane in lanes:
                lane.join(60)

    def _lane(self, lane: int) -> None:
        with self._lock:
            worker, ended = self.desk.enter(lane), None
        while True:
            with self._lock:
                answer = self.desk.take(worker, ended)
                self.waits += answer == "wait"
            if answer == "leave":
                return
            if answer == "wait":
                ended = None
                time.sleep(0.001)
                continue
            ended = self.end(answer[0], pickle.loads(answer[1]))

    def end(self, key: str, spec: TrialSpec) -> Ended:
        time.sleep(self.seconds)
        self.store.put(Stored(key, "tiny", record(spec=spec)))
        return Ended(key, "stored")

    def add(self, trials: list) -> None:
        with self._lock:
            self.desk.add(trials)
            self.most_waiting = max(self.most_waiting, len(self.desk._waiting))

    def close(self) -> None:
        with self._lock:
            self.desk.close()

    def stop(self) -> None:
        with self._lock:
            self.desk.stop()

    def news(self):
        with self._lock:
            return self.desk.news()


def test_every_trial_is_heard_of_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, trials=30, lanes=3, seconds=0)
    bench.run()
    assert sorted(item.spec.seed for item in bench.heard) == list(range(30))


def test_of_slow_trials_no_more_wait_than_run(tmp_path: Path) -> None:
    bench = Bench(tmp_path, trials=12, lanes=2, seconds=0.7)
    bench.run()
    assert len(bench.heard) == 12
    assert bench.most_waiting <= 2
    assert bench.waits <= 60, "a lane waited for longer than two looks of the clerk"


def test_of_short_ones_so_many_that_no_lane_waits_for_the_clerk(tmp_path: Path) -> None:
    bench = Bench(tmp_path, trials=600, lanes=2, seconds=0.005)
    begin = time.monotonic()
    bench.run()
    assert len(bench.heard) == 600
    assert bench.most_waiting <= 200
    assert time.monotonic() - begin < 40, "at 0.2 seconds a look and a trial a lane it would take a minute"


def wait_until(what: Callable[[], object]) -> None:
    until = time.monotonic() + 10
    while not what():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize(("seconds", "row"), [(3600, 1), (1, 1), (0.4, 2), (0.07, 9), (0, 100)])
def test_how_many_wait_for_each_lane(seconds: float, row: int) -> None:
    assert row_of(seconds) == row


def test_as_many_lanes_may_be_as_would_find_work(tmp_path: Path) -> None:
    bench = Bench(tmp_path, trials=10, lanes=2, seconds=0)
    with bench.clerk() as course:
        assert (course.lanes, course.dry) == (2, False)
        for lane in range(2):
            bench.desk.take(bench.desk.enter(lane))
        until = time.monotonic() + 10
        while course.lanes < 4 and time.monotonic() < until:
            time.sleep(0.01)
        assert course.lanes == 4, "two that are there, and two for whom something lies ready"
    assert course.over


def test_a_trial_that_killed_its_workers_gets_a_record(tmp_path: Path) -> None:
    bench = Bench(tmp_path, trials=1, lanes=1, seconds=0)
    with bench.clerk() as course:
        for _ in range(2):
            bench.desk.take(bench.desk.enter(0))
            bench.desk.died(0, "out of memory")
        until = time.monotonic() + 10
        while not course.over and time.monotonic() < until:
            time.sleep(0.01)
    (found,) = bench.heard
    assert (found.outcome, found.error) == ("failed", "worker died: out of memory")
    assert records_of(tmp_path)[tiny().key].record == found


def test_unless_it_had_left_one_before_it_died(tmp_path: Path) -> None:
    bench = Bench(tmp_path, trials=1, lanes=1, seconds=0)
    with bench.clerk() as course:
        for _ in range(2):
            bench.desk.take(bench.desk.enter(0))
            bench.end(tiny().key, tiny())
            bench.desk.died(0, "out of memory")
        while not course.over:
            time.sleep(0.01)
    assert [item.outcome for item in bench.heard] == ["completed"]


def test_workers_that_cannot_start_stop_the_sweep(tmp_path: Path) -> None:
    bench = Bench(tmp_path, trials=1, lanes=1, seconds=0)
    with bench.clerk() as course:
        for _ in range(10):
            bench.desk.died(0, "no such library")
        while not course.over:
            time.sleep(0.01)
    assert bench.stopping.reason == "workers cannot start: no such library"
    assert isinstance(bench.stopping.error, SweepIncomplete)


def test_what_runs_is_told_in_words(tmp_path: Path) -> None:
    bench = Bench(tmp_path, trials=1, lanes=1, seconds=0)
    with bench.clerk():
        worker = bench.desk.enter(0, Place("host", "node", 1))
        bench.desk.take(worker)
        bench.desk.report(worker, Report(tiny().key, steps=9, epoch=2, val_top1=40.0))
        wait_until(lambda: any(bench.told[-1:]))
    (running,) = bench.told[-1]
    assert (running.host, running.epoch, running.epochs) == ("host", 2, 3)
    assert running.share == 2 / 3 and str(running) == f"{tiny()} epoch 2/3, val top-1 40.0 %"


def test_a_sweep_that_stops_waits_for_what_runs_to_be_handed_back(tmp_path: Path) -> None:
    bench = Bench(tmp_path, trials=3, lanes=1, seconds=0)
    with bench.clerk() as course:
        worker = bench.desk.enter(0)
        bench.desk.take(worker)
        assert bench.stopping.interrupt()
        wait_until(lambda: bench.desk.report(worker, Report(tiny().key)))
        time.sleep(0.5)
        assert not course.over
        assert bench.desk.take(worker, Ended(tiny().key, "back")) == "leave"
        wait_until(lambda: course.over)
    assert not bench.heard and bench.stopping.error is None


def test_but_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mica.sweep.drive.clerk._PATIENCE", 0.3)
    bench = Bench(tmp_path, trials=3, lanes=1, seconds=0)
    with bench.clerk() as course:
        bench.desk.take(bench.desk.enter(0))
        bench.stopping.interrupt()
        wait_until(lambda: course.over)


def test_what_goes_wrong_in_its_thread_comes_out(tmp_path: Path) -> None:
    bench = Bench(tmp_path, trials=1, lanes=1, seconds=0)

    def spoil(*_: object) -> None:
        raise AssertionError("a bug")

    bench.store.find = spoil  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="a bug"):
        bench.run()


def test_a_record_that_cannot_be_read_is_missing(tmp_path: Path) -> None:
    bench = Bench(tmp_path, trials=1, lanes=1, seconds=0)

    def newer(*_: object) -> None:
        raise Newer(99, "completed")

    bench.store.find = newer  # type: ignore[method-assign]
    bench.run()
    assert not bench.heard
