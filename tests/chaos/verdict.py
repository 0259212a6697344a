"""What became of a sweep that was broken on purpose, against the same sweep left in peace."""

import hashlib
import json
import math
import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd

from mica.sweep.results import open_results
from mica.sweep.store.tables import trials_table
from tests.chaos import diary

ASIDE = (
    "host", "hosts", "device", "log", "threads", "started", "remarks", "versions",
    "seconds_data", "seconds_mask", "seconds_train",
)  # fmt: skip
"""Columns of `trials` that say where and how long, and may differ."""


@dataclass
class Verdict:
    """Of one round."""

    lost: int = 0
    """Trials without a record, and records that were there and vanished."""
    doubled: int = 0
    """Records that were written over, rows that are there twice."""
    changed: int = 0
    """Trials whose row differs from the undisturbed one's."""
    repeated: int = 0
    """Epochs that were trained more than once."""
    faults: list[str] = field(default_factory=list)
    """All that is wrong, in words."""

    @property
    def good(self) -> bool:
        """Whether the promise was kept."""
        return not (self.lost or self.doubled or self.changed or self.faults)


def rows_of(sweep: Path) -> dict[str, dict[str, Any]]:
    """Trial's key → its row of the table `trials`, where and how long aside; of all that a sweep has."""
    results = open_results(sweep)
    frame: pd.DataFrame = trials_table(results.store, results.trials).to_pandas()
    keep = [name for name in frame.columns if name not in ASIDE]
    rows = frame[keep].astype(object).where(frame[keep].notna(), None).to_dict("records")
    found = {row["trial_key"]: row for row in rows}
    if len(found) != len(rows):
        raise AssertionError(f"{len(rows) - len(found)} rows of trials.parquet are there twice")
    return found


class Watcher:
    """Looks at a local store's records all the while: none may vanish, change, or come before its files."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._seen: dict[Path, str] = {}
        self.faults: list[str] = []
        self.vanished = self.overwritten = 0
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        self._thread.join()
        self._look(again=True)

    def _work(self) -> None:
        while not self._leaving.wait(0.03):
            self._look(again=False)

    def _look(self, *, again: bool) -> None:
        there = set(self._store.glob("records/*/*.json"))
        for path in self._seen.keys() - there:
            self.vanished += 1
            self.faults.append(f"a record vanished: {path.name}")
            del self._seen[path]
        for path in there if again else there - self._seen.keys():
            content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            if self._seen.setdefault(path, digest) != digest:
                self.overwritten += 1
                self.faults.append(f"a record was written over: {path.name}")
            kept = json.loads(json.loads(content)["body"])["record"].get("kept")
            if kept and not (self._store / kept / "masks.npz").exists():
                self.faults.append(f"a record is there before its files: {path.name}")


def judge(sweep: Path, expected: dict[str, dict[str, Any]], watcher: Watcher | None, notes: Path) -> Verdict:
    """Compare what is there in the end with what is there without any disturbance."""
    found = Verdict()
    if watcher:
        found.faults += watcher.faults
        found.lost += watcher.vanished
        found.doubled += watcher.overwritten
    try:
        rows = rows_of(sweep)
    except AssertionError as error:
        found.doubled += 1
        found.faults.append(str(error))
        return found
    for key, row in expected.items():
        if key not in rows:
            found.lost += 1
            found.faults.append(f"lost: {key[:12]}")
        elif differing := [name for name in row if not _same(row[name], rows[key].get(name))]:
            found.changed += 1
            found.faults.append(f"changed: {key[:12]}: {', '.join(differing[:4])}")
    if more := rows.keys() - expected.keys():
        found.faults.append(f"{len(more)} trials that are none of the sweep's")
    found.repeated, stolen = _work_of(notes)
    found.faults += stolen
    return found


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    return bool(one == other)


def _work_of(notes: Path) -> tuple[int, list[str]]:
    """Epochs trained more than once; trials taken over from a driver that nothing had happened to."""
    epochs: Counter[tuple[str, int]] = Counter()
    at: dict[int, str] = {}
    owners: dict[str, list[int]] = defaultdict(list)
    disturbed: set[int] = set()
    stolen = []
    for line in diary.read(notes):
        pid, what = line["pid"], line["what"]
        if what == "disturbed":
            disturbed.add(line["whom"])
        elif what == "died":
            disturbed.add(pid)
        elif what == "start":
            at[pid] = line["key"]
            if others := [owner for owner in owners[line["key"]] if owner != pid and owner not in disturbed]:
                stolen.append(f"{line['key'][:12]} was taken from the living driver {others[0]}")
            owners[line["key"]].append(pid)
        elif what == "end":
            owners[line["key"]] = [owner for owner in owners[line["key"]] if owner != pid]
        elif what == "epoch" and pid in at:
            epochs[at[pid], line["epoch"]] += 1
    return sum(count - 1 for count in epochs.values()), stolen
