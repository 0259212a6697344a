"""The command line: parse, call, print, exit code. No logic."""

import gc
import logging
import os
import sys
import warnings
from typing import Any, NoReturn

import click
from rich.logging import RichHandler
from rich.text import Text

from mica import __version__, imports
from mica.cli.console import EXIT_INTERRUPTED, EXIT_TRIALS_FAILED, EXIT_WRONG_USE, err
from mica.cli.doctor import doctor
from mica.cli.results import collect, compare, plan, release, report, status
from mica.cli.run import run
from mica.cli.single import bench, inspect, trial
from mica.cli.tracking import sync, ui
from mica.errors import SweepIncomplete, SweepStopped, UserError
from mica.wording import shown

imports.for_good()


class _Group(click.Group):
    """Turns a user's mistake into one message and exit code 2, without a traceback."""

    def __call__(self, *args: Any, **extra: Any) -> Any:
        """The whole process."""
        try:
            return super().__call__(*args, **extra)
        except SystemExit as end:
            _leave(end)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader of a pipe has seen enough
            sys.stderr.close()
            ctx.exit(0)
        except KeyboardInterrupt:
            err.print("interrupted", style="yellow")
            ctx.exit(EXIT_INTERRUPTED)
        except (SweepStopped, UserError, OSError) as error:
            err.print(
                Text.assemble(("error: ", "bold red"), shown(str(error))), highlight=False, soft_wrap=True
            )
            ctx.exit(_code_of(error))


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mica-sweep")
@click.option("-v", "--verbose", is_flag=True, help="Show what happens inside.")
def main(verbose: bool) -> None:
    """Sweeps of pruning-at-initialisation experiments.

    \b
    A first look:      mica-sweep run sweeps/quickstart.yaml
    What would run:    mica-sweep plan sweeps/paper.yaml
    One mask:          mica-sweep inspect --model vgg16 --method mica-igq --log10-ratio 4.5

    SWEEP is a sweep file. Where a command only reads results, it may also be the folder that holds them.
    """
    sys.path.insert(0, os.getcwd())  # for a user's own `package.module:function`
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(
        level=level,
        format="%(message)s",
        handlers=[RichHandler(console=err, show_time=False, show_path=False)],
    )
    if not verbose:
        warnings.filterwarnings("ignore", category=FutureWarning)


for command in (
    run, plan, status, collect, report, compare, inspect, trial, bench, doctor, sync, ui, release,
):  # fmt: skip
    main.add_command(command)


def _code_of(error: Exception) -> int:
    if isinstance(error, SweepIncomplete):
        return EXIT_INTERRUPTED
    return EXIT_TRIALS_FAILED if isinstance(error, SweepStopped) else EXIT_WRONG_USE


def _leave(end: SystemExit) -> NoReturn:
    """End the process, although a call to a Ray that died may never return."""
    gc.freeze()  # Python would take a second to look for what can be freed, and all of it can
    if "mica.sweep.drive.ray_thread" in sys.modules:
        from mica.sweep.drive.ray_thread import is_stuck

        if is_stuck():
            logging.shutdown()
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(end.code if isinstance(end.code, int) else EXIT_TRIALS_FAILED)
    raise end
