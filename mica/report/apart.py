"""The report of a sweep that has just run.

Where trials ran, in a process of its own: the driver stays small that way, however many records there are.
The process is handed what the driver knows, so that it reads neither the sweep file nor the data, nor the
user's code, nor the store's records. Where none ran, a second one would only import all that this one has.
"""

import gc
import pickle
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from mica import imports
from mica.errors import UserError
from mica.wording import shown

if TYPE_CHECKING:
    from mica.sweep.results import Results

_COMMAND = [sys.executable, "-W", "ignore::FutureWarning", "-m", "mica.report.apart"]


def report_ended(results: "Results", *, apart: bool) -> int:
    """Write and print the report of these results; returns the exit code, 0 if all is well."""
    if not apart:
        return _report(results)
    given = pickle.dumps(replace(results, sources={}))
    sys.stdout.flush()
    # Ctrl-C is for this process, which then ends that one.
    return subprocess.run(_COMMAND, input=given, start_new_session=True).returncode


def _report(results: "Results") -> int:
    from rich.console import Console

    from mica.report.report import write_report

    try:
        write_report(results, Console(markup=False, emoji=False), redraw=False)
    except (UserError, OSError) as error:
        place = shown(results.store.place.address)
        why = f"tables and figures in {place} could not be written: {shown(str(error))}"
        print(f"{why}; `mica-sweep report {results.opened}` tries again", file=sys.stderr)
        return 2
    finally:
        gc.freeze()  # as in the driver: what is left need not be looked through, it all goes
    return 0


if __name__ == "__main__":
    imports.for_good()
    sys.exit(_report(pickle.load(sys.stdin.buffer)))
