"""The long form: many rounds, in shards that can be taken up again, and a table in the end."""

import json
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from tests.chaos import mlflow_rounds, node_rounds, ray_rounds, rounds, storage_rounds
from tests.chaos.drivers import Stage, Zygote
from tests.chaos.faults import FAULTS
from tests.chaos.scene import Outcome, Scene
from tests.chaos.sweeps import write_sweep
from tests.chaos.verdict import Verdict, rows_of

ROUNDS: dict[str, Callable[[Scene], Outcome]] = {
    "drivers": rounds.drivers_round,
    "epochs": rounds.epochs_round,
    "bucket": storage_rounds.bucket_round,
    "disk": storage_rounds.disk_round,
    "permission": storage_rounds.permission_round,
    "ray": ray_rounds.ray_round,
    "nodes": node_rounds.nodes_round,
    "mlflow": mlflow_rounds.mlflow_round,
}
"""By name, as `--only` takes them."""
TELLING = {
    "momentum_is_dropped": ("epochs", 3),
    "fold_deletes_first": ("drivers", 3),
    "fold_frees_names": ("drivers", 2),
}
"""In which rounds a planted fault shows, and within how many; the others in those of drivers, within six."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--events", default=1000, show_default=True, help="Go on until so many have been done.")
@click.option("--seed", default=0, show_default=True, help="What is done to whom is drawn from this.")
@click.option("--shard", default="1/1", show_default=True, help="Which part of how many: 2/4.")
@click.option("--only", multiple=True, type=click.Choice([*ROUNDS]), help="Only rounds of this kind.")
@click.option("--round", "number", type=int, help="One round again, by its number.")
@click.option("--fault", type=click.Choice([*FAULTS]), help="Plant a fault: the suite must then fail.")
@click.option("--every-fault", is_flag=True, help="Plant each in turn; exit 0 if every one is noticed.")
@click.option(
    "--show", "only_show", is_flag=True, help="Print the table of what --out holds, and do nothing."
)
@click.option("--out", type=click.Path(path_type=Path), default="chaos.jsonl", show_default=True,
              help="A line a round; those that are there are not done again.")  # fmt: skip
def main(
    events: int, seed: int, shard: str, only: tuple[str, ...], number: int | None, fault: str | None,
    every_fault: bool, only_show: bool, out: Path,
) -> None:  # fmt: skip
    """Break sweeps on purpose, and compare what comes out with sweeps left in peace."""
    if every_fault:
        sys.exit(plant_each(seed))
    done = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    if only_show:
        show(done)
        sys.exit(0 if all(line["good"] for line in done) else 1)
    part, parts = map(int, shard.split("/"))
    print(f"seed {seed}, shard {shard}: `--seed {seed} --round N` does round N again", flush=True)
    known = {line["round"] for line in done if line["seed"] == seed}
    kinds = list(only or ROUNDS)
    with zygotes() as found:
        for at in range(part - 1, 10**9, parts) if number is None else [number]:
            if number is None and sum(sum(line["events"].values()) for line in done) >= events:
                break
            if at in known and number is None:
                continue
            line = one_round(kinds[at % len(kinds)], seed, at, found, fault=fault, keep=number is not None)
            done.append(line)
            with open(out, "a") as file:
                print(json.dumps(line), file=file)
            said = "good" if line["good"] else f"NOT GOOD: {line['verdict']['faults'][:3]}"
            print(f"round {at} ({line['kind']}): {sum(line['events'].values())} events, {said}", flush=True)
    show(done)
    sys.exit(0 if all(line["good"] for line in done) else 1)


def plant_each(seed: int) -> int:
    """Whether the suite notices every planted fault: 0, or 1."""
    missed = []
    with zygotes() as found:
        for fault in FAULTS:
            kind, most = TELLING.get(fault, ("drivers", 6))
            for at in range(most):
                line = one_round(kind, seed, at, found, fault=fault)
                if not line["good"]:
                    print(f"{fault}: noticed in round {at}: {line['verdict']['faults'][0]}", flush=True)
                    break
            else:
                missed.append(fault)
                print(f"{fault}: NOT NOTICED in {most} rounds", flush=True)
    return 1 if missed else 0


def one_round(
    kind: str, seed: int, number: int, origin: dict[str, Zygote], *, fault: str | None = None,
    keep: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Do one round in a folder of its own, which stays where the verdict is bad."""
    folder = Path(tempfile.mkdtemp(prefix=f"mica-chaos-{kind}-{number}-"))
    own = int(sha256(f"{seed} {number}".encode()).hexdigest()[:8], 16)
    begin = time.monotonic()
    try:
        found = ROUNDS[kind](Scene(folder, own, origin, partial(_undisturbed, origin), fault))
    except Exception as error:
        traceback.print_exc()
        found = Outcome(Counter(), Verdict(faults=[f"{type(error).__name__}: {error}"]))
    if found.verdict.good and not keep:
        shutil.rmtree(folder)
    return {
        "seed": seed, "round": number, "kind": kind, "events": dict(found.events),
        "seconds": round(time.monotonic() - begin, 1), "good": found.verdict.good,
        "verdict": asdict(found.verdict), "folder": None if found.verdict.good else str(folder),
    }  # fmt: skip


def show(done: list[dict[str, Any]]) -> None:
    """The table."""
    table = Table(
        "event", "times", "records lost", "doubled", "numbers changed", "epochs repeated", box=box.MARKDOWN
    )  # fmt: skip
    names = sorted({name for line in done for name in line["events"]})
    for name in names:
        with_it = [line for line in done if name in line["events"]]
        sums = [sum(line["verdict"][part] for line in with_it) for part in ("lost", "doubled", "changed")]
        times = sum(line["events"][name] for line in with_it)
        table.add_row(name, f"{times:,}", *map(str, sums), _repeated(name, with_it, times))
    total = sum(sum(line["events"].values()) for line in done)
    bad = sum(not line["good"] for line in done)
    Console(width=110).print(table)
    print(f"{total:,} events in {len(done)} rounds, {bad} of them not good")


def _repeated(name: str, lines: list[dict[str, Any]], times: int) -> str:
    """Epochs trained again, a round's shared equally by its events."""
    if all(line["kind"] == "ray" for line in lines):
        return "not counted"  # nobody spies on the processes of a cluster
    share = sum(
        line["verdict"]["repeated"] * line["events"][name] / sum(line["events"].values()) for line in lines
    )
    return f"{share / times:.1f} each"


_EXPECTED: dict[str, dict[str, dict[str, Any]]] = {}


def _undisturbed(origin: dict[str, Zygote], body: str, options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows of a sweep that nothing happens to; run once."""
    name = repr((body, sorted(options.items())))
    if name not in _EXPECTED:
        with tempfile.TemporaryDirectory(prefix="mica-chaos-peace-") as folder:
            file = write_sweep(Path(folder), body, **options)
            with Stage(Path(folder), origin) as stage:
                code = stage.start().wait(300)
            if code != 0:
                raise AssertionError((Path(folder) / "output.txt").read_text()[-2000:])
            _EXPECTED[name] = rows_of(file)
            assert _EXPECTED[name]
    return _EXPECTED[name]


@contextmanager
def zygotes(clocks: tuple[str, ...] = ("", "+1h", "-1h")) -> Iterator[dict[str, Zygote]]:
    """Processes that drivers are split off from, by how far their clocks are off."""
    found = {clock: Zygote(clock) for clock in clocks}
    try:
        yield found
    finally:
        for zygote in found.values():
            zygote.close()
        storage_rounds.end_services()
        mlflow_rounds.end_services()


if __name__ == "__main__":
    main()
