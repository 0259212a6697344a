"""Measure mica on a store of many records.

`python -m tests.scale --records 100000 --epochs 160 --folder PLACE`

The store is made on the first call (of 100,000 records in some ten minutes, 5 GB) and used again afterwards.
"""

import argparse
import shutil
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.scale.made_up import make_store, sweep_file
from tests.scale.measure import Cost, measure, megabytes

_TRIALS = 2604
"""Of the sweep."""
_FOLD = """
import sys
from mica.sweep.store.records import Store
from mica.sweep.store.segments import fold
fold(Store(sys.argv[1]), at_least=1)
"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.scale", description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--epochs", type=int, default=160)
    parser.add_argument("--folder", type=Path, required=True, help="for the stores; kept")
    given = parser.parse_args()
    if given.records < _TRIALS:
        parser.error(f"--records: found {given.records}; at least {_TRIALS}, so that the sweep misses none")
    store = _made(given.folder, given.records, given.epochs)
    thousand = _made(given.folder, 1000, given.epochs)
    sweep, console = str(sweep_file(store, given.epochs)), Console()
    shutil.rmtree(thousand / "segments", ignore_errors=True)
    costs = [measure("fold of 1,000", ["-c", _FOLD, str(thousand)])]
    shutil.rmtree(store / "tables", ignore_errors=True)
    # `run` twice: the first brings the figures up to date.
    for command in ("status", "collect", "run", "run"):
        costs.append(measure(command, ["-m", "mica.cli", command, sweep]))
    console.print(_table(costs))
    for name in ("records", "segments", "tables"):
        console.print(f"{name}: {megabytes(store / name):,.0f} MB", highlight=False)


def _made(folder: Path, records: int, epochs: int) -> Path:
    """The store of so many records; made unless it is there."""
    store = folder.absolute() / f"{records}x{epochs}"
    made = store / "made"
    if not made.exists():
        shutil.rmtree(store, ignore_errors=True)
        make_store(sweep_file(store, epochs), records)
        made.touch()
    return store


def _table(costs: list[Cost]) -> Table:
    """As the caption says."""
    table = Table(
        caption="imports: the time in which Python loads modules, of the same run", title_justify="left"
    )
    for name in ("command", "seconds", "beyond imports", "CPU seconds", "peak MB"):
        table.add_column(name, justify="left" if name == "command" else "right")
    for cost in costs:
        numbers = (cost.seconds, cost.beyond_imports, cost.cpu, cost.peak_mb)
        table.add_row(cost.name, *(f"{number:,.1f}" for number in numbers))
    return table


if __name__ == "__main__":
    main()
