"""What became of a file in a record's place, and whether that is allowed."""

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

from mica.sweep.store.index import Index
from mica.sweep.store.layout import record_path
from mica.sweep.store.records import Store
from mica.sweep.store.stored import Newer, Stored, differences
from mica.trial import run
from tests.trial.sample import tiny

SECONDS = 2.0
"""Of the processor that one file may take."""


@dataclass
class RecordVerdict:
    """How one file ended."""

    kind: str
    seconds: float
    violations: list[str] = field(default_factory=list)


def judge_record(content: bytes, sound: Stored, folder: Path) -> RecordVerdict:
    """Read the file as every command does: it is the record, or set aside, or a newer mica's."""
    store, begin = Store(str(folder)), time.process_time()
    path = folder / record_path(sound.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    logging.disable(logging.WARNING)
    verdict = RecordVerdict("", 0.0)
    try:
        verdict.kind = _read(store, sound, path, verdict.violations)
        index = Index(store, {}, others=True)
        if (verdict.kind == "set aside") == bool(index.entries):
            verdict.violations.append(f"{verdict.kind}, but the index has {len(index.entries)} entries")
    except Exception as error:
        verdict.kind = f"ended in {type(error).__name__}"
        verdict.violations.append(f"{verdict.kind}: {error}"[:300])
    finally:
        logging.disable(logging.NOTSET)
        path.unlink(missing_ok=True)
    verdict.seconds = time.process_time() - begin
    if verdict.seconds > SECONDS:
        verdict.violations.append(f"took {verdict.seconds:.1f} s")
    return verdict


def _read(store: Store, sound: Stored, path: Path, violations: list[str]) -> str:
    try:
        found = store.read(sound.name)
    except Newer:
        return "of a newer mica"
    if found is None:
        if path.exists():
            violations.append("no record, and still there")
        return "set aside"
    if found.record.spec.key != sound.record.spec.key:
        violations.append("the record of another trial was taken")
    return "read as it was" if not differences(found.record, sound.record) else "read with other values"


def a_record() -> Stored:
    """That of a trial which has run."""
    spec = tiny()
    return Stored(spec.key, "fuzz", run(spec))
