"""What became of one sweep file, and whether that is allowed."""

import re
import resource
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from mica.errors import UserError
from mica.sweep.plan.grid import MAX_TRIALS, size
from mica.sweep.plan.spec import load_home, load_sweep
from mica.sweep.sweep import open_sweep
from tests.fuzz.sanity import KEYS, SECRET, insane_grid, insane_sweep, insane_words

SECONDS = 5.0
"""Of the processor that one file may take."""
HANGS_AFTER = 60.0
"""Seconds by the clock: whoever waits for a pipe takes none of the processor."""
MEGABYTES = 300
"""By so much one file may raise the process's highest use of memory."""
MOST_EXPANDED = 20_000
"""A grid of more trials is sound, but takes longer than a test may."""


@dataclass
class Verdict:
    """How one file ended."""

    kind: str
    """`accepted`, or the kind of its first complaint."""
    seconds: float
    """Of the processor."""
    violations: list[str] = field(default_factory=list)


def warm() -> None:
    """torchvision takes seconds to import, which the first file that names CIFAR would pay for."""
    import torchvision  # noqa: F401


class _Hangs(BaseException):
    """Nothing catches this but the judge."""


def judge(content: bytes, folder: Path) -> Verdict:
    """Open the sweep file as every command does, and look at what comes of it."""
    path = folder / "sweep.yaml"
    path.write_bytes(content)
    begin, peak = time.process_time(), _peak()
    verdict = Verdict("accepted", 0.0)
    try:
        with _limit(HANGS_AFTER):
            verdict.violations += _accepted(path, content)
    except UserError as error:
        verdict.kind = _kind(str(error), path)
        verdict.violations += _faulty_message(str(error), path)
    except _Hangs:
        verdict.kind = "HANGS"
        verdict.violations.append(f"takes more than {HANGS_AFTER} s")
    except BaseException as error:
        verdict.kind = f"RAISES {type(error).__name__}"
        verdict.violations.append("".join(traceback.format_exception(error))[-2500:])
    verdict.seconds = time.process_time() - begin
    if verdict.seconds > SECONDS:
        verdict.violations.append(f"takes {verdict.seconds:.1f} s of the processor")
    if _peak() - peak > MEGABYTES:
        verdict.violations.append(f"takes {_peak() - peak:,.0f} MB of memory")
    return verdict


def _accepted(path: Path, content: bytes) -> list[str]:
    """Raises what the sweep's opening raises; what is wrong with a sweep that was accepted."""
    load_home(path)
    sweep = load_sweep(path)
    problems = [*insane_words(content), *insane_sweep(sweep)]
    if not MOST_EXPANDED < size(sweep) <= MAX_TRIALS:
        # No storage that the file names is opened.
        problems += insane_grid(open_sweep(path, str(path.parent / "store")).grid)
    return [f"nonsense was accepted: {problem}" for problem in problems[:5]]


def _faulty_message(message: str, path: Path) -> Iterator[str]:
    """What is wrong with a complaint: it names file and key (or line), is short and keeps secrets."""
    lines = message.split("\n")
    if not message or len(lines) > 25 or max(map(len, lines)) > 1200:
        yield f"a message of {len(lines)} lines, {len(message)} characters: {message[:300]!r}"
    for line in lines:
        rest = line.removeprefix(f"{path}:")
        if rest == line:
            yield f"names no file: {line[:300]!r}"
        elif not re.match(r"\d+: ", rest) and not KEYS & set(re.findall(r"\w+", rest)) and not _whole(rest):
            yield f"names neither line nor key: {line[:300]!r}"
        if not line.isprintable():
            yield f"cannot be printed: {line[:300]!r}"
    if SECRET.search(message):
        yield f"tells a password: {message[:300]!r}"


def _whole(rest: str) -> bool:
    """Whether this is about the file as a whole, which has no key."""
    return "a sweep is a mapping" in rest or "is larger than" in rest


def _kind(message: str, path: Path) -> str:
    """A complaint without what is peculiar to one file."""
    line = message.partition("\n")[0].removeprefix(f"{path}:")
    line = re.sub(r"found .*?(?=; |, which|$)", "found …", line)
    line = re.sub(r"""'[^']*'|"[^"]*"|\[.*\]|\{.*\}|'.*…""", "…", line)
    line = re.sub(r"^\d*:? ?([\w.]+: )*", "", line)
    line = re.sub(r"(0x[0-9a-f]{2}|-?\d[\d,.e+]*)", "N", line)
    return line[:70]


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise _Hangs

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _peak() -> float:
    """The process's highest use of memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
