"""A process that has loaded mica and splits off drivers: real processes, without seconds of imports each.

It reads an order a line from its standard input (arguments, environment, patches, file for the output),
answers with the new process's number, and says when one ends.
"""

import importlib
import json
import os
import pkgutil
import select
import signal
import sys
import threading
import time
from typing import Any

import mica


def main() -> None:
    """Serve until the input ends; then kill what is left."""
    _load_all()
    if "FAKETIME" in os.environ:  # it breaks the call that `time.sleep` makes (libfaketime 0.9.10)
        time.sleep = lambda seconds: select.select([], [], [], seconds)
    children: set[int] = set()
    lock = threading.Lock()

    def say(**facts: Any) -> None:
        with lock:
            print(json.dumps(facts), flush=True)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        order = json.loads(line)
        if order == "reap":
            for pid in list(children):
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    children.discard(pid)
                    say(ended=pid, code=os.waitstatus_to_exitcode(status))
            say(ended=None, code=None)
            continue
        pid = os.fork()
        if pid == 0:
            _become(order)
        children.add(pid)
        say(started=pid)
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _load_all() -> None:
    """Load what a driver needs: one that is another user's may not be able to read where Python lies."""
    import torch

    torch.set_num_threads(1)
    from mica.trial import TrialSpec, run

    for module in pkgutil.walk_packages(mica.__path__, "mica."):
        if not module.name.startswith(_NOT_FOR_DRIVERS):
            importlib.import_module(module.name)
    importlib.import_module("tests.chaos.spying")
    spec = TrialSpec(
        data={"name": "synthetic", "size": 8, "channels": 1, "classes": 4, "train": 20, "test": 10},
        model={"name": "mlp", "hidden": [4]}, method="dense", log10_ratio=0, seed=0, compact=False,
        protocol={"epochs": 1, "batch_size": 10, "augment": "none"},
    )  # fmt: skip
    run(spec)


_NOT_FOR_DRIVERS = (
    "mica.sweep.drive.ray",
    "mica.sweep.drive.lane",
    "mica.sweep.store.bucket",
    "mica.cli.__main__",
)
"""Ray, and a library with threads of its own, which no process may be split off from."""


def _become(order: dict[str, Any]) -> None:
    """Turn this process into a driver; never returns."""
    code = 70
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.update(order["environment"])
        os.chdir(order["folder"])
        output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, descriptor in enumerate((nothing, output, output)):
            os.dup2(descriptor, number)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
        if order.get("user"):
            os.setgid(order["user"])
            os.setuid(order["user"])
        from tests.chaos.spying import prepare

        prepare(order["patches"])
        import mica.cli.main as cli

        cli.out.file, cli.err.file = sys.stdout, sys.stderr
        cli.main(order["arguments"])
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
