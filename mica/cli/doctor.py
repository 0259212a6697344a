"""`doctor`: whether this machine, or a cluster, can run a sweep."""

import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import click

from mica.cli.console import EXIT_TRIALS_FAILED, JSON, STORAGE, SWEEP, out, print_json

_STYLES = {"good": "green", "note": "yellow", "bad": "red"}


@click.command()
@SWEEP
@STORAGE
@click.option("--address", metavar="ADDRESS", help="Of a Ray cluster; else $RAY_ADDRESS, else this machine.")
@JSON
def doctor(sweep: Path, storage: str | None, address: str | None, as_json: bool) -> None:
    """Ask every node whether it can run a sweep, and say how to mend what is wrong.

    \b
    Versions, your own modules, data, storage, clocks, GPUs, cores, MLflow; who else could use the cluster.
    Exit code 0: nothing is wrong; 1: something is; 2: the sweep file is.
    """
    from mica.sweep.doctor.examination import examine_sweep
    from mica.sweep.sweep import open_sweep

    opened = open_sweep(sweep, storage)
    with out.status("asking every node") if out.is_terminal and not as_json else nullcontext():
        found = examine_sweep(opened.job, opened.grid.trials.values(), opened.mlflow_uri, address)
    sound = all(finding.level != "bad" for finding in found)
    if as_json:
        print_json({"sound": sound, "findings": [asdict(finding) for finding in found]})
    else:
        for finding in found:
            out.print(
                f"{finding.level:4}  {finding}", style=_STYLES[finding.level], highlight=False, soft_wrap=True
            )
    sys.exit(0 if sound else EXIT_TRIALS_FAILED)
