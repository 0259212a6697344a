"""The queue of a sweep's trials: each once, and what a lane died of again, so many times."""

from mica.sweep.drive.trial_queue import TrialQueue

A, B, C, D = ((key, key.encode()) for key in "abcd")


def test_each_trial_is_taken_once_in_order() -> None:
    queue = TrialQueue([A, B, C], attempts=3)
    assert [queue.take(lane, heard=True) for lane in (0, 1, 0, 1)] == [A, B, C, None]


def test_what_a_dead_lane_was_at_comes_first() -> None:
    queue = TrialQueue([A, B, C], attempts=3)
    queue.take(0, heard=True)
    queue.take(1, heard=True)
    assert queue.died(0) == ("a", False)
    assert [queue.take(1, heard=True) for _ in range(3)] == [A, C, None]


def test_what_it_had_not_told_comes_back_too_but_only_the_last_is_blamed() -> None:
    queue = TrialQueue([A, B, C, D], attempts=1)
    queue.take(0, heard=True)  # the driver hears of A before the lane takes B
    queue.take(0, heard=True)
    queue.take(0, heard=False)
    assert queue.died(0) == ("c", True)
    assert [queue.take(1, heard=True) for _ in range(3)] == [B, D, None]


def test_a_trial_that_kills_too_often_is_given_up() -> None:
    queue = TrialQueue([A, B], attempts=3)
    for given_up in (False, False, True):
        assert queue.take(0, heard=True) == A
        assert queue.died(0) == ("a", given_up)
    assert queue.take(0, heard=True) == B


def test_a_lane_that_died_with_nothing_in_hand_is_blamed_on_no_trial() -> None:
    queue = TrialQueue([A], attempts=3)
    assert queue.died(0) is None
    queue.take(0, heard=True)
    assert queue.take(0, heard=True) is None
    assert queue.died(0) is None
