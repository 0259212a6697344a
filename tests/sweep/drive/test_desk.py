"""The desk: each trial once, and what a worker died of again, so many times."""

import pytest

from mica.sweep.drive.desk import Desk, Ended

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
    assert desk.news().ended == [Ended("a", "lost", "out of memory"), stored("b")]


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
