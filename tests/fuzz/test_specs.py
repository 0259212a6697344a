"""Malformed sweep files end in one clear error; `python -m tests.fuzz specs` throws many more of them."""

from pathlib import Path

import pytest

from tests.fuzz.malformed_specs import RICH, SWEEPS, malformed
from tests.fuzz.verdict import judge, warm


@pytest.fixture(scope="module", autouse=True)
def warmed() -> None:
    warm()


def test_the_sound_ones_are_accepted(tmp_path: Path) -> None:
    for content in (RICH.encode(), *(file.read_bytes() for file in SWEEPS.glob("*.yaml"))):
        verdict = judge(content, tmp_path)
        assert verdict.kind == "accepted" and not verdict.violations


@pytest.mark.parametrize("part", range(5))
def test_a_malformed_one_is_one_clear_error(part: int, tmp_path: Path) -> None:
    for number, content in enumerate(malformed(part, 100)):
        verdict = judge(content, tmp_path)
        assert not verdict.violations, f"part {part}, number {number}: {content[:500]!r}"
