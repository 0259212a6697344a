"""Take a sweep's records into the documentation: `python docs/keep_records.py results/extreme reproduction`.

Nothing but the place of the log on the machine that ran a trial is left out.
"""

import sys
from dataclasses import replace
from pathlib import Path

from mica.sweep.store.records import Store
from mica.sweep.store.stored import encode


def keep(results: Path, place: Path) -> int:
    """Returns how many there are."""
    found = list(Store(str(results)).load())
    for stored in found:
        provenance = stored.record.provenance.model_copy(update={"log": None})
        kept = replace(stored, record=stored.record.model_copy(update={"provenance": provenance}))
        file = place / "records" / stored.key[:2] / f"{stored.name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(kept))
    return len(found)


if __name__ == "__main__":
    print(keep(Path(sys.argv[1]), Path(__file__).parent / sys.argv[2]), "records")
