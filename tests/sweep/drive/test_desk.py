"""The desk: each trial once, and what a worker died of again, so many times."""

import pytest

from mica.sweep.drive.desk import Desk, Ended
from mica.sweep.drive.progress import Place, Report

A, B, C = ((key, key.encode()) for key in "abc")


class Clock:
    """Says what it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def desk() -> Desk:
    """Three trials, each of which may kill three workers."""
    desk = Desk(attempts=3)
    desk.add([A, B, C])
    return desk


def stored(key: str) -> Ended:
    return Ended(key, "stored")


def test_each_trial_is_taken_once_in_order(desk: Desk) -> None:
    first, second = desk.enter(1), desk.enter(2)
    assert [desk.take(worker) for worker in (first, second, first)] == [A, B, C]
    assert desk.take(second) == "wait"


def test_a_lane_leaves_once_no_more_can_come(desk: Desk) -> None:
    worker = desk.enter(1)
    desk.close()
    assert [desk.take(worker) for _ in range(4)] == [A, B, C, "leave"]
    assert desk.news().lanes == 0


def test_a_sweep_that_stops_hands_out_nothing_more(desk: Desk) -> None:
    worker = desk.enter(1)
    assert desk.take(worker) == A
    desk.stop()
    assert desk.take(worker, stored("a")) == "leave"


def test_what_a_dead_worker_was_at_comes_first(desk: Desk) -> None:
    first, second = desk.enter(1), desk.enter(2)
    assert (desk.take(first), desk.take(second)) == (A, B)
    desk.died(1, "out of memory")
    assert desk.take(second, stored("b")) == A
    news = desk.news()
    assert (news.ended, news.deaths, news.waiting, news.lanes) == ([stored("b")], ["out of memory"], 1, 1)


def test_a_trial_that_kills_too_often_is_given_up_and_no_other_is_blamed(desk: Desk) -> None:
    for _ in range(3):
        assert desk.take(desk.enter(1)) == A
        desk.died(1, "out of memory")
    worker = desk.enter(1)
    assert [desk.take(worker), desk.take(worker, stored("b"))] == [B, C]
    assert desk.news().ended == [Ended("a", "lost", "worker died: out of memory"), stored("b")]


def test_a_worker_that_was_given_up_as_dead_gets_no_more_trials(desk: Desk) -> None:
    """A lost node's process may live on for a while."""
    zombie = desk.enter(1)
    assert desk.take(zombie) == A
    desk.died(1, "node lost")
    heir = desk.enter(1)
    assert desk.take(heir) == A
    assert desk.take(zombie, stored("a")) == "leave"
    assert desk.take(heir, stored("a")) == B, "its heir's trial is not lost with it"
    assert desk.news().ended == [stored("a"), stored("a")]


def test_a_worker_takes_the_place_of_one_whose_death_nobody_told(desk: Desk) -> None:
    assert desk.take(desk.enter(1)) == A
    assert desk.take(desk.enter(1)) == A


def test_workers_that_die_before_they_take_a_trial_cannot_start(desk: Desk) -> None:
    for _ in range(9):
        desk.died(1, "no such library")
    assert not desk.news().broken
    desk.died(1, "no such library")
    assert desk.news().broken


def test_one_that_ends_shows_that_they_can(desk: Desk) -> None:
    for _ in range(9):
        desk.died(1, "no such library")
    worker = desk.enter(2)
    desk.take(worker)
    desk.take(worker, stored("a"))
    desk.died(1, "no such library")
    assert not desk.news().broken


def test_news_are_told_once_with_what_the_trials_took() -> None:
    clock = Clock()
    desk = Desk(attempts=1, clock=clock)
    desk.add([A, B])
    worker = desk.enter(1)
    desk.take(worker)
    clock.now = 2
    desk.take(worker, stored("a"))
    assert desk.news().seconds == 2
    assert (desk.news().ended, desk.news().seconds) == ([], None)


HERE, THERE = Place("h1", "n1", 11), Place("h2", "n2", 12)


def back(key: str) -> Ended:
    return Ended(key, "back")


def test_what_a_worker_hands_back_comes_first_and_blames_nobody() -> None:
    desk = Desk(attempts=1)
    desk.add([A, B])
    worker = desk.enter(1)
    assert desk.take(worker) == A
    assert desk.take(worker, back("a")) == A
    desk.leave(worker, back("a"))
    news = desk.news()
    assert (news.ended, news.deaths, news.waiting, news.lanes) == ([], [], 2, 0)


def test_where_the_sweep_stops_what_is_handed_back_is_simply_not_done(desk: Desk) -> None:
    worker = desk.enter(1)
    desk.take(worker)
    assert not desk.report(worker, Report("a", steps=1))
    desk.stop()
    assert desk.report(worker, Report("a", steps=2))
    assert desk.take(worker, back("a")) == "leave"
    news = desk.news()
    assert (news.ended, news.waiting, news.running) == ([], 0, [])


def test_lanes_of_a_draining_node_hand_back_and_leave(desk: Desk) -> None:
    here, there = desk.enter(1, HERE), desk.enter(2, THERE)
    assert (desk.take(here), desk.take(there)) == (A, B)
    desk.drain({"n1"})
    assert desk.report(here, Report("a", steps=1)) and not desk.report(there, Report("b", steps=1))
    assert desk.take(here, back("a")) == "leave"
    assert desk.take(there, stored("b")) == A


def test_news_say_what_runs_where_and_how_far_it_is() -> None:
    clock = Clock()
    desk = Desk(attempts=1, clock=clock)
    desk.add([A])
    worker = desk.enter(1, HERE)
    desk.take(worker)
    told = Report("a", steps=5, epoch=2, val_top1=40.0)
    desk.report(worker, told)
    desk.report(worker, Report("b", steps=9))  # late, of the trial before
    clock.now = 7
    (at,) = desk.news().running
    assert (at.report, at.place, at.seconds) == (told, HERE, 7)


def stalling(report: Report, seconds: float) -> tuple[Desk, Clock, int]:
    """A desk whose one worker has told no more for so many seconds."""
    clock = Clock()
    desk = Desk(attempts=2, stall=100, clock=clock)
    desk.add([A])
    worker = desk.enter(1, HERE)
    desk.take(worker)
    clock.now = 50
    desk.report(worker, report)
    clock.now += seconds
    desk.report(worker, report)
    return desk, clock, worker


@pytest.mark.parametrize(("slowest", "seconds", "stalls"), [
    (0, 99, False), (0, 101, True), (20, 199, False), (20, 201, True),
])  # fmt: skip
def test_a_trial_may_stand_still_for_a_time_and_for_ten_of_its_steps(
    slowest: float, seconds: float, stalls: bool
) -> None:
    desk, _, _ = stalling(Report("a", steps=3, slowest=slowest), seconds)
    assert bool(desk.news().stalled) == stalls


def test_a_stalled_trial_alone_is_blamed_and_its_worker_gone() -> None:
    desk, clock, worker = stalling(Report("a", steps=3), 101)
    (stalled,) = desk.news().stalled
    assert (stalled.key, stalled.place, stalled.reason) == ("a", HERE, "made no progress for 101 s")
    desk.died(1, "killed")
    news = desk.news()
    assert (news.deaths, news.stalled, news.waiting) == ([], [], 1), "told once"
    assert desk.report(worker, Report("a", steps=4)), "should it live on, it is to stop"
    desk.take(desk.enter(1, HERE))
    clock.now += 101
    desk.news()
    assert desk.news().ended == []  # told with the news before
    assert desk.take(desk.enter(2, THERE)) == "wait", "given up after as many attempts as a death"


def test_lanes_above_what_is_allowed_leave_after_their_trial() -> None:
    desk = Desk(attempts=1)
    desk.add([(name, b"") for name in "abcd"])
    first, second = desk.enter(1), desk.enter(2)
    assert [desk.take(first), desk.take(second)] == [("a", b""), ("b", b"")]
    desk.allow(1)
    assert desk.waits()
    assert desk.take(first, Ended("a", "stored")) == "leave"
    assert desk.take(second, Ended("b", "stored")) == ("c", b"")
    assert (desk.news().lanes, desk.news().limit) == (1, 1)
    desk.allow(None)
    assert desk.take(desk.enter(3)) == ("d", b"")
    assert not desk.waits()
