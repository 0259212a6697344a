"""The whole examination: every node, what trials need, and what else a sweep talks to."""

import logging
import time
from collections.abc import Collection
from contextlib import suppress
from uuid import uuid4

from mica.errors import UserError
from mica.sweep.doctor.finding import Finding, bad, good
from mica.sweep.doctor.fits import fits
from mica.sweep.doctor.judge import Asked, Survey, alike
from mica.sweep.doctor.node import Question, examine, look_around, probe_path
from mica.sweep.doctor.services import mlflow_finding, openness
from mica.sweep.drive import ray_survey
from mica.sweep.drive.executor import Job
from mica.sweep.drive.ray_cluster import Connection, check, cluster, gpu_bytes, shares
from mica.sweep.drive.ray_survey import Node, ask_each
from mica.sweep.drive.user_code import modules_of
from mica.trial.spec import TrialSpec

log = logging.getLogger(__name__)


def examine_sweep(
    job: Job, trials: Collection[TrialSpec], mlflow: str | None, address: str | None
) -> list[Finding]:
    """All findings; what is wrong with one thing does not hide what is wrong with the next.

    Args:
        mlflow: tracking URI; None: off.
        address: of a Ray cluster; None: $RAY_ADDRESS, else this machine.
    """
    found = [mlflow_finding(mlflow)]
    try:
        with cluster(address, modules_of(trials)) as connection:
            return [*connection.call(lambda: _on_cluster(job, trials, connection.grows)), *found]
    except UserError as error:
        return [Finding("bad", "Ray", str(error)), *found]


def refuse_unfit(job: Job, trials: Collection[TrialSpec], connection: Connection) -> None:
    """The quick part, before a sweep starts on several nodes or on GPUs.

    Raises `UserError` with all that is bad; what is worth knowing of GPUs is logged.
    """

    def findings() -> list[Finding]:
        nodes, need = ray_survey.nodes(), shares(job.resources, trials)[0].need
        if len(nodes) < 2 and not need["gpu"]:
            return []
        survey = _survey(_question(job, trials, data=False), nodes)
        return [*alike(survey), *fits(survey, need, wait=job.times.nodes > 0)]

    found = connection.call(findings)
    for finding in found:
        if (finding.level, finding.what) == ("note", "GPUs"):
            log.warning("%s", finding)
    if faults := [str(finding) for finding in found if finding.level == "bad"]:
        raise UserError("\n".join(faults))


def _on_cluster(job: Job, trials: Collection[TrialSpec], shared: bool) -> list[Finding]:
    nodes, need = ray_survey.nodes(), shares(job.resources, trials)[0].need
    wait = shared and job.times.nodes > 0
    found: list[Finding] = []
    try:
        data = check(trials, job.sources, [need], wait=True)
        largest = gpu_bytes(trials, data) if need["gpu"] else 0
        found.append(good("trials", "the data are decoded, and every network is traced"))
    except UserError as error:
        largest = 0
        found += [bad("trials", line, "mend that in the sweep file") for line in str(error).splitlines()]
    survey = _survey(_question(job, trials, data=True), nodes)
    found = [*alike(survey), *fits(survey, need, largest, wait=wait), *found]
    if shared:
        addresses = [node.address for node in nodes]
        found += openness(ray_survey.tokens_on(), ray_survey.dashboard(), addresses)
    return found


def _question(job: Job, trials: Collection[TrialSpec], *, data: bool) -> Question:
    chosen = {spec.data.label: spec.data for spec in trials}
    return Question(
        place=job.store.place,
        probe=uuid4().hex,
        modules=tuple(sorted({name for spec in trials for name in spec.code})),
        data=chosen if data else {},
    )


def _survey(question: Question, nodes: list[Node]) -> Survey:
    names = _names(nodes)
    try:
        here = examine(question, "driver")
        reports = ask_each(nodes, examine, [(question, names[node]) for node in nodes])
        asked = time.time()
        sights = ask_each(nodes, look_around, [(question,)] * len(nodes))
        heard = time.time()
    finally:
        for name in (*names.values(), "driver"):
            with suppress(OSError):
                question.place.delete(probe_path(question, name))
    answers = {}
    for node, name in names.items():
        sight = sights[node]
        answers[name] = Asked(
            cpu=node.cpu,
            gpu=node.gpu,
            report=reports[node],
            sight=None if isinstance(sight, str) else sight,
            early=0.0 if isinstance(sight, str) else _early(sight.seconds, asked, heard),
        )
    return Survey(here=here, nodes=answers)


def _early(seconds: float, asked: float, heard: float) -> float:
    """By how much at least a clock is ahead that said this some time between two moments of ours."""
    return min(seconds - asked, 0.0) + max(seconds - heard, 0.0)


def _names(nodes: list[Node]) -> dict[Node, str]:
    """Each by its host; where a machine has several, with what tells them apart."""
    hosts = [node.host for node in nodes]
    plain = {
        node: node.host if hosts.count(node.host) == 1 else f"{node.host}/{node.address}" for node in nodes
    }
    words = list(plain.values())
    return {node: word if words.count(word) == 1 else f"{word}/{node.id[:6]}" for node, word in plain.items()}
