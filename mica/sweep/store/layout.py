"""All file names of a store."""

import hashlib
import re
from collections.abc import Iterable, Mapping

RECORDS = "records"
"""records/ab/NAME.json: one finished trial; created once, never overwritten, never deleted."""
FAILURES = "failures"
"""failures/KEY/0001.json: an attempt at a trial that ended with an exception, or with its worker lost."""
DIFFERENCES = "differences"
"""differences/NAME-….json: a second record of a trial that says otherwise than the first."""
SEGMENTS = "segments"
"""segments/….parquet: records as columns, only to be read faster."""
SET_ASIDE = "set-aside"
"""Files that stood in the place of a record or checkpoint and were none."""
CHECKPOINTS = "checkpoints"
"""checkpoints/KEY/000012-….safetensors: a training after so many epochs."""
KEPT = "kept"
"""kept/KEY/…/: masks and weights, where the sweep asks for them; the record says in which folder."""
CLAIMS = "claims"
"""claims/KEY-000001.json: the driver that runs a trial now; who takes it over counts on."""
DRIVERS = "drivers"
"""drivers/….json: a driver's signs of life, and what it runs."""
PROBES = "probes"
"""Names that are created twice to see whether the second one is refused."""
TABLES = "tables"
"""tables/{trials,layers,epochs}.parquet: what pandas reads."""
FIGURES = "figures"
"""figures/*.png, *.svg and *.pdf."""
DRAWN = "figures/drawn.json"
"""Of which results the figures are, so that nobody draws them twice."""
PAGE = "report.html"
"""All results to look at, in one file."""
MLFLOW = "mlflow.db"
"""The default MLflow database."""

_RECORD = re.compile(rf"{RECORDS}/([0-9a-f]{{2}})/((\1[0-9a-f]{{62}})(?:-[0-9a-f]{{12}})?)\.json")
_FAILURE = re.compile(rf"{FAILURES}/([0-9a-f]{{64}})/(\d{{4,}})\.json")
_DRIVER = re.compile(rf"{DRIVERS}/([0-9a-f]{{12}})\.json")
_CLAIM = re.compile(rf"{CLAIMS}/([\w.+-]+)-(\d{{6,}})\.json")


def name_of(key: str, code: Mapping[str, str]) -> str:
    """A record's name: the trial's key, and what the user's own code was, if any took part."""
    if not code:
        return key
    return f"{key}-{hashlib.sha256(repr(sorted(code.items())).encode()).hexdigest()[:12]}"


def record_path(name: str) -> str:
    """Of a trial's record; 256 folders keep each listing short."""
    return f"{RECORDS}/{name[:2]}/{name}.json"


def record_names(paths: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Name and key of each record among the paths; what has none of our names is none of our business."""
    return ((found[2], found[3]) for path in paths if (found := _RECORD.fullmatch(path)))


def failure_path(key: str, number: int) -> str:
    """Of an attempt that failed, from 1."""
    return f"{FAILURES}/{key}/{number:04d}.json"


def failure_numbers(paths: Iterable[str]) -> dict[str, int]:
    """Key → number of the last attempt that failed."""
    found: dict[str, int] = {}
    for match in filter(None, map(_FAILURE.fullmatch, paths)):
        found[match[1]] = max(int(match[2]), found.get(match[1], 0))
    return found


def claim_path(what: str, number: int) -> str:
    """Of the claim on a trial, by its key, or on another task; from 1."""
    return f"{CLAIMS}/{what}-{number:06d}.json"


def claim_numbers(paths: Iterable[str]) -> dict[str, int]:
    """What is claimed → number of the last claim on it."""
    found: dict[str, int] = {}
    for match in filter(None, map(_CLAIM.fullmatch, paths)):
        found[match[1]] = max(int(match[2]), found.get(match[1], 0))
    return found


def driver_names(paths: Iterable[str]) -> list[str]:
    """The drivers whose signs of life are among the paths."""
    return [found[1] for path in paths if (found := _DRIVER.fullmatch(path))]


def driver_path(driver: str) -> str:
    """Of a driver's signs of life."""
    return f"{DRIVERS}/{driver}.json"
