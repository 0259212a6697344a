"""One bug stops a sweep early; one bad trial does not."""

from typing import Any

import pytest

from mica.errors import SweepIncomplete
from mica.sweep.drive.stopping import Stopping
from tests.sweep.sample import record

GOOD: dict[str, Any] = {}


def bad(error: str) -> dict[str, Any]:
    return {"outcome": "failed", "error": f"Traceback …\n  in its own place\n{error}\n"}


@pytest.mark.parametrize(("ends", "stops"), [
    ([bad("E: a"), bad("E: a")], False),
    ([bad("E: a"), bad("E: a"), bad("E: a")], True),
    ([bad("E: a"), bad("E: a"), bad("E: b")], False),
    ([GOOD, bad("E: a"), bad("E: a"), bad("E: a")], False),
    ([GOOD, GOOD, GOOD], False),
])  # fmt: skip
def test_the_first_three_that_fail_alike_stop_it(ends: list[dict[str, Any]], stops: bool) -> None:
    stopping = Stopping()
    for changes in ends:
        stopping.ended(record(**changes))
    assert stopping.reason == ("the first 3 trials all failed alike: E: a" if stops else None)


def test_so_do_three_in_a_row_whose_records_cannot_be_written() -> None:
    stopping = Stopping()
    for _ in range(2):
        stopping.unsaved("k", "disk full")
    stopping.ended(record())
    for _ in range(2):
        stopping.unsaved("k", "disk full")
    assert stopping.reason is None
    stopping.unsaved("k", "disk full")
    assert stopping.reason == "records cannot be written: disk full; the same line again goes on"


def test_the_first_reason_counts() -> None:
    stopping = Stopping()
    stopping.stop(SweepIncomplete("one"))
    stopping.stop(SweepIncomplete("two"))
    assert stopping.interrupt()
    assert isinstance(stopping.error, SweepIncomplete)
    assert stopping.reason == "one"


def test_a_wish_that_it_stop_is_no_error() -> None:
    stopping = Stopping()
    assert stopping.interrupt()
    assert (stopping.reason, stopping.error) == ("interrupted", None)
