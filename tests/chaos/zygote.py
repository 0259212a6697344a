"""A process that has loaded mica and splits off drivers: real processes, without seconds of imports each.

It reads an order a line from its standard input (arguments, environment, patches, file for the output),
answers with the new process's number, and says when one ends.
"""

import ctypes
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

NOT_BEGUN = 71
"""Exit code of a driver that failed before mica had a say."""


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
    """Load what a driver needs, but nothing that has threads of its own: those no child would have."""
    import torch

    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(mica.__path__, "mica."):
        if not module.name.startswith(_NOT_FOR_DRIVERS):
            importlib.import_module(module.name)
    importlib.import_module("tests.chaos.spying")


_NOT_FOR_DRIVERS = (
    "mica.sweep.drive.ray", "mica.sweep.drive.lane", "mica.sweep.store.bucket", "mica.cli.__main__",
)  # fmt: skip


def _drop_privilege() -> None:
    """Let permission bits count for root too: without the capabilities that pass over them."""
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, data) == 0
    for word in range(3):  # effective, permitted, inheritable
        data[word] &= ~0b1110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
    assert libc.capset(header, data) == 0


def _become(order: dict[str, Any]) -> None:
    """Turn this process into a driver; never returns."""
    code = NOT_BEGUN
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
        if order["unprivileged"]:
            _drop_privilege()
        from tests.chaos.spying import prepare

        prepare(order["patches"])
        code = 70
        from mica.cli import console
        from mica.cli import main as cli

        console.out.file, console.err.file = sys.stdout, sys.stderr
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
