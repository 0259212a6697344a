"""Intervals and p values against answers worked out by hand and from tables of Student's t."""

import pytest

from mica.report.tables.paired import Difference, holm, paired


def test_three_pairs_by_hand() -> None:
    # Differences 1, 2, 3: mean 2, deviation 1; t with 2 degrees of freedom is 4.3027 at 97.5 %.
    found = paired([11, 22, 33], [10, 20, 30])
    assert (found.pairs, found.mean) == (3, 2)
    assert found.low == pytest.approx(2 - 4.302653 / 3**0.5) and found.high == pytest.approx(
        2 + 4.302653 / 3**0.5
    )
    # P(|t| > 2 · √3) = 1 − t / √(t² + 2) with 2 degrees of freedom.
    assert found.p == pytest.approx(1 - 12**0.5 / 14**0.5)
    assert not found.shown


def test_the_order_of_pairs_matters() -> None:
    assert paired([50, 60, 70], [49, 59, 69]) == Difference(3, 1.0, 1.0, 1.0, 0.0)
    assert not paired([50, 60, 70], [69, 49, 59]).shown


def test_equal_ones_differ_in_nothing() -> None:
    found = paired([10, 10], [10, 10])
    assert found == Difference(2, 0.0, 0.0, 0.0, 1.0) and not found.shown


def test_one_pair_shows_nothing() -> None:
    assert paired([50], [10]) == Difference(1, 40.0, None, None, None)
    assert not paired([50], [10]).shown


@pytest.mark.parametrize(("ours", "theirs"), [([], []), ([1, 2], [1])])
def test_what_are_no_pairs_is_refused(ours: list[float], theirs: list[float]) -> None:
    with pytest.raises(ValueError, match="not pairs"):
        paired(ours, theirs)


def test_holm_by_hand() -> None:
    # Of four: 0.01 · 4, 0.02 · 3, then 0.03 · 2 = 0.06 again, and 0.04 · 1, which may not be below it.
    assert holm([0.04, 0.01, None, 0.03, 0.02]) == pytest.approx([0.06, 0.04, None, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
