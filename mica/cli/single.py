"""Commands on one mask, one trial, this machine: `inspect`, `trial`, `bench`."""

from pathlib import Path
from typing import Any

import click

from mica.cli.console import JSON, STORAGE, err, out, print_json, print_note
from mica.errors import UserError


@click.command()
@click.option("--model", required=True, help="Network: vgg16, resnet20, …, or package.module:function.")
@click.option("--method", required=True, help="dense, rpi-erk, 'mica(node_counts=max)-igq', rbpi-synflow, …")
@click.option("--ratio", metavar="RATIO", help="All edges / kept edges, such as 1000 or 10^4.5.")
@click.option("--log10-ratio", metavar="EXPONENT", help="Or its log10, such as 4.5.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--classes", type=click.IntRange(1, 1_000_000), default=10, show_default=True)
@click.option("--input-shape", default="3x32x32", show_default=True, help="Of one image, CxHxW.")
@click.option("--data", help="Data set for methods that score images; it then sets classes and shape.")
@click.option("--budget", type=click.Choice(["nominal", "corrected"]), default="nominal", show_default=True)
@click.option("--rounding", type=click.Choice(["floor", "exact"]), default="floor", show_default=True)
@click.option(
    "--target",
    type=click.Choice(["nominal", "corrected"]),
    default="nominal",
    show_default=True,
    help="What the ratio counts: kept edges, or functional ones.",
)
@click.option("--save", type=click.Path(path_type=Path), help="Write the masks to this .npz file.")
@JSON
def inspect(
    as_json: bool, save: Path | None, ratio: str | None, log10_ratio: str | None, **options: Any
) -> None:
    """Make one mask and show it, layer by layer."""
    from mica.cli.ratio import one_ratio
    from mica.report.tables.mask_table import mask_json, mask_table
    from mica.trial.single_mask import MaskRequest, make_mask

    found = make_mask(MaskRequest(log10_ratio=one_ratio(ratio, log10_ratio, options["method"]), **options))
    if save:
        try:
            found.masks.save(save)
        except OSError as error:
            raise UserError(f"--save {save}: cannot be written: {error.strerror}") from error
    if as_json:
        print_json(mask_json(found))
    else:
        out.print(mask_table(found.summary, found.layers))
        for remark in found.remarks:
            print_note(remark)


@click.command()
@click.argument("key")
@click.option(
    "--from", "place", type=click.Path(path_type=Path), required=True, help="Sweep file or results folder."
)
@STORAGE
@click.option("--device", help="cpu, cuda, cuda:1, …")
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for the trial's masks and weights.")
def trial(key: str, place: Path, storage: str | None, device: str | None, keep: Path | None) -> None:
    """Run one trial again, in this process, to debug it or to get its masks and weights.

    KEY is a trial's key or its beginning; `mica-sweep plan --keys` lists them. The store is not changed.
    """
    from mica.cli.rerun import print_rerun
    from mica.sweep.results import find_trial

    print_rerun(find_trial(key, place, storage), out, device=device, keep=keep)


@click.command()
@click.option("--model", "models", multiple=True, help="Networks to time.  [default: vgg16, resnet20]")
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1), help="How many seeds.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1), help="Timed rounds a seed.")
@click.option("--steps/--no-steps", default=True, help="Time training steps.")
@click.option("--ways", is_flag=True, help="Time steps in each form, and by SparseProp if it is installed.")
@click.option("--masks/--no-masks", default=True, help="Time masks.")
@click.option("--trials", default=200, show_default=True, type=click.IntRange(0), help="No-op trials to run.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: one a core]")
@click.option("--device", help="cpu, cuda, …; a GPU where there is one by default.")
@JSON
def bench(as_json: bool, **options: Any) -> None:
    """Measure what a training step, a mask and a trial cost on this machine.

    Each network trains the usual way (weights × masks at full width) and mica's way, step by step in turn.
    `mica-sweep plan` then knows better how many hours a sweep will take here. With the defaults this takes
    some ten minutes; for a quick look: mica-sweep bench --seeds 1 --rounds 3 --no-masks --trials 0
    """
    from mica.bench.bench import measure, plan_of
    from mica.bench.measurements import save
    from mica.bench.tables import tables

    plan = plan_of(**options)
    with err.status("measuring") as shown:
        found = measure(plan, lambda what: shown.update(f"measuring {what}"))
    if as_json:
        click.echo(found.model_dump_json(indent=2))
    else:
        out.print(tables(found))
    try:
        save(found)
    except OSError as error:
        err.print(f"`mica-sweep plan` will not know of these measurements: {error}", style="yellow")
