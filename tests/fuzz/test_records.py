"""What is no record is set aside; `python -m tests.fuzz records` throws many more of them."""

from pathlib import Path

from tests.fuzz.malformed_records import malformed_records
from tests.fuzz.record_verdict import a_record, judge_record


def test_a_malformed_record_is_set_aside_or_read_as_it_was(tmp_path: Path) -> None:
    sound = a_record()
    kinds = set()
    for number, content in enumerate(malformed_records(sound, 0, 500)):
        verdict = judge_record(content, sound, tmp_path)
        assert not verdict.violations, f"number {number}: {content[:500]!r}"
        kinds.add(verdict.kind)
    assert "set aside" in kinds
