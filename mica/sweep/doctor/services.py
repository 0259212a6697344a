"""What the driver alone talks to: MLflow; and what strangers could talk to."""

import ipaddress
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import requests

from mica.data.location import shown
from mica.sweep.doctor.finding import Finding, bad, good, note
from mica.sweep.track.credentials import scrubbed
from mica.sweep.track.database import file_of

_ANSWER_SECONDS = 10.0
_JOBS = "/api/jobs/"
"""Where a dashboard takes jobs: who may ask here may run anything."""


def mlflow_finding(uri: str | None) -> Finding:
    """Whether MLflow answers; a sweep runs without it, and `sync` catches up."""
    if uri is None:
        return good("MLflow", "off")
    if (file := file_of(uri)) is not None:
        return good("MLflow", f"a database of its own, {file}")
    if not uri.startswith(("http://", "https://")):
        return good("MLflow", shown(uri))
    remedy = "start it, or mend `mlflow`; the sweep runs without it, and `mica-sweep sync` catches up"
    status, why = _asked(f"{uri.rstrip('/')}/health", uri)
    if status == 200:
        return good("MLflow", f"{shown(uri)} answers")
    if status == 403:
        why = "it refuses this name of its host"
        remedy = f"start it with --allowed-hosts {urlsplit(uri).netloc.rpartition('@')[2]}"
    return bad("MLflow", f"{shown(uri)} does not answer as MLflow: {why}", remedy)


def openness(tokens: bool | None, dashboard: str | None, addresses: list[str]) -> Iterator[Finding]:
    """Whether strangers can run code on the cluster.

    Args:
        tokens: whether Ray's processes ask for one.
        dashboard: HOST:PORT, as the driver reaches it.
        addresses: of the nodes.
    """
    alone = all(map(_is_loopback, addresses))
    if tokens:
        yield good("tokens", "on")
    elif tokens is None:
        yield note("tokens", "this Ray does not say whether it asks for one")
    else:
        yield (note if alone else bad)(
            "tokens", "off: whoever reaches Ray's ports can run anything on every node",
            "set RAY_AUTH_MODE=token and make a token (`ray get-auth-token --generate`) before `ray start`, "
            "see cluster/SECURITY.md",
        )  # fmt: skip
    yield _dashboard_finding(dashboard, alone)


def _dashboard_finding(dashboard: str | None, alone: bool) -> Finding:
    if dashboard is None:
        return good("dashboard", "there is none")
    host, _, port = dashboard.removeprefix("http://").partition(":")
    if _is_loopback(host):
        return good("dashboard", f"listens on {dashboard} alone")
    status, why = _asked(f"http://{host}:{port}{_JOBS}")
    if status in (401, 403):
        return good("dashboard", f"{dashboard} asks for a token")
    if status is None:
        return note("dashboard", f"{dashboard} does not answer here: {why}")
    return (note if alone else bad)(
        "dashboard", f"{dashboard} lets anybody submit jobs",
        "turn tokens on, or start Ray with --dashboard-host 127.0.0.1",
    )  # fmt: skip


def _asked(url: str, secret: str = "") -> tuple[int | None, str]:
    """The status of an answer, or why there is none."""
    try:
        answer = requests.get(url, timeout=_ANSWER_SECONDS)
    except (requests.RequestException, ValueError) as error:
        return None, scrubbed(_innermost(error), secret)
    return answer.status_code, f"{answer.status_code} {answer.reason}"


def _innermost(error: BaseException) -> str:
    """The system's own words: each library that passes an error on wraps it in many of its own."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return str(error)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(socket.gethostbyname(host)).is_loopback
    except (OSError, ValueError):
        return False
