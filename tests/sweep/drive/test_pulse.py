"""How a trial counts its steps, tells of them, and is ended between two of them."""

import threading
from types import SimpleNamespace

import pytest

from mica.sweep.drive.progress import Report
from mica.sweep.drive.pulse import Pulse, Stopped, Telling


def test_it_counts_steps_and_keeps_the_slowest() -> None:
    times = iter([10.0, 11.0, 15.0, 16.0])
    pulse = Pulse(clock=lambda: next(times))
    with pulse.of("a"):
        assert not pulse.stepping
        for _ in range(4):
            pulse.on_step()
        pulse.on_epoch(SimpleNamespace(number=7, val=SimpleNamespace(top1=40.0)))
        assert pulse.stepping
        assert pulse.report == Report("a", steps=4, slowest=4.0, epoch=7, val_top1=40.0)
    assert pulse.report is None and not pulse.stepping


def test_a_trial_that_is_told_to_stop_ends_between_two_steps_and_the_next_one_does_not() -> None:
    pulse = Pulse()
    with pytest.raises(Stopped), pulse.of("a"):
        pulse.on_step()
        pulse.stop()
        pulse.on_step()
    with pulse.of("b"):
        pulse.on_step()
    assert not issubclass(Stopped, Exception), "no trial may take it for a failure of its own"


def test_its_thread_tells_of_it_and_obeys_whatever_goes_wrong_between() -> None:
    pulse, told, obeyed = Pulse(), [], threading.Event()

    def tell(report: Report) -> bool:
        told.append(report)
        if len(told) == 1:
            raise ConnectionError
        return True

    with Telling(pulse, tell, period=0.01), pytest.raises(Stopped), pulse.of("a"):
        while not obeyed.wait(0.01):
            pulse.on_step()
    assert len(told) >= 2 and told[-1].key == "a"
