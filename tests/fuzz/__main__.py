"""Throw malformed input at mica: `python -m tests.fuzz specs --count 10000 --seed 0`.

Prints what happened, kind by kind, and exits 1 if anything did that must not.
"""

import argparse
import os
import resource
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.fuzz.malformed_records import malformed_records
from tests.fuzz.malformed_specs import malformed
from tests.fuzz.record_verdict import a_record, judge_record
from tests.fuzz.verdict import Verdict, judge, warm

_GIGABYTES = 6


def specs(count: int, seed: int) -> int:
    """Open so many malformed sweep files; returns how many ended as none may."""
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    resource.setrlimit(resource.RLIMIT_AS, (_GIGABYTES << 30,) * 2)  # a bomb ends this process alone
    warm()
    kinds: Counter[str] = Counter()
    slowest: list[tuple[float, int, str]] = []
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, content in enumerate(malformed(seed, count)):
            verdict = judge(content, Path(folder))
            kinds[verdict.kind] += 1
            slowest = sorted([*slowest, (verdict.seconds, number, verdict.kind)], reverse=True)[:5]
            if verdict.violations:
                wrong += 1
                _print_violation(number, content, verdict)
    for kind, times in kinds.most_common():
        print(f"{times:6}  {kind}")
    print(f"{kinds.total():6}  in all; {kinds['accepted']} accepted, {wrong} ended as none may")
    for seconds, number, kind in slowest:
        print(f"{seconds:5.2f} s  number {number}: {kind}")
    return wrong


def records(count: int, seed: int) -> int:
    """Read so many files in a record's place; returns how many ended as none may."""
    sound = a_record()
    kinds: Counter[str] = Counter()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, content in enumerate(malformed_records(sound, seed, count)):
            verdict = judge_record(content, sound, Path(folder))
            kinds[verdict.kind] += 1
            if verdict.violations:
                wrong += 1
                print(f"--- number {number}: {'; '.join(verdict.violations)}\n{content[:300]!r}", flush=True)
    for kind, times in kinds.most_common():
        print(f"{times:6}  {kind}")
    print(f"{kinds.total():6}  in all; {wrong} ended as none may")
    return wrong


def _print_violation(number: int, content: bytes, verdict: Verdict) -> None:
    print(f"--- number {number}: {verdict.kind}")
    print(*verdict.violations, sep="\n")
    print(content[:1500], flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("what", choices=["specs", "records"])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    throw = specs if given.what == "specs" else records
    return 1 if throw(given.count, given.seed) else 0


if __name__ == "__main__":
    sys.exit(main())
