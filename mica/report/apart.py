"""The report of a sweep that has just run, in a process of its own.

The driver stays small that way, however many records there are. The process is handed what the driver knows,
so that it reads neither the sweep file nor the data, nor the user's code.
"""

import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from mica.errors import UserError
from mica.trial.spec import TrialSpec
from mica.wording import shown

_COMMAND = [sys.executable, "-W", "ignore::FutureWarning", "-m", "mica.report.apart"]


def report_apart(
    name: str, storage: str, trials: Mapping[str, TrialSpec], mlflow_uri: str | None, place: Path
) -> int:
    """Write and print the report of these trials, by key; returns the exit code, 0 if all is well.

    Args:
        name: the sweep's.
        storage: where its records are.
        mlflow_uri: where its runs are shown; None: nowhere.
        place: the sweep file.
    """
    given = pickle.dumps((name, storage, dict(trials), mlflow_uri, place))
    sys.stdout.flush()
    # Ctrl-C is for this process, which then ends that one.
    return subprocess.run(_COMMAND, input=given, start_new_session=True).returncode


def main() -> int:
    """The process's end."""
    from rich.console import Console

    from mica.report.report import write_report
    from mica.sweep.results import Results
    from mica.sweep.store.index import Index
    from mica.sweep.store.records import Store

    name, storage, trials, mlflow_uri, place = pickle.load(sys.stdin.buffer)
    try:
        store = Store(storage)
        results = Results(
            name=name,
            store=store,
            trials=trials,
            sources={},
            index=Index(store, trials),
            mlflow_uri=mlflow_uri,
            place=place,
        )
        write_report(results, Console(markup=False, emoji=False), redraw=False)
    except (UserError, OSError) as error:
        why = f"tables and figures in {shown(storage)} could not be written: {shown(str(error))}"
        print(f"{why}; `mica-sweep report {place}` tries again", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
