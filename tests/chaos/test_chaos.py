"""The short form: a round of each quick kind, and a planted fault that must be noticed."""

from collections.abc import Iterator

import pytest

from tests.chaos.__main__ import TELLING, one_round, zygotes
from tests.chaos.drivers import Zygote


@pytest.fixture(scope="module")
def origin() -> Iterator[dict[str, Zygote]]:
    with zygotes(clocks=("",)) as found:
        yield found


@pytest.mark.parametrize("kind", ["drivers", "epochs"])
def test_nothing_is_lost(kind: str, origin: dict[str, Zygote]) -> None:
    line = one_round(kind, 0, 0, origin)
    assert line["good"], line["verdict"]["faults"]
    assert sum(line["events"].values()) >= 4


def test_a_planted_fault_is_noticed(origin: dict[str, Zygote]) -> None:
    """One of seven: `python -m tests.chaos --every-fault` plants them all."""
    fault = "momentum_is_dropped"
    kind, most = TELLING[fault]
    assert any(not one_round(kind, 0, number, origin, fault=fault)["good"] for number in range(most))
