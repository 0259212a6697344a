"""Rounds on MLflow: its server, its database, the tracking process are killed, stopped, started again."""

import os
import random
import signal
import time
from collections import Counter
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from mlflow import MlflowClient

from tests.chaos.drivers import Stage
from tests.chaos.ray_rounds import _title
from tests.chaos.scene import CLAIM, Outcome, Rows, Scene, done, finish, running
from tests.chaos.sweeps import MLP, write_sweep
from tests.chaos.verdict import Watcher, judge
from tests.services.processes import descendants
from tests.services.running import Database, Server, running_mlflow, running_postgres

_STACK = ExitStack()
_TRACKING = "tracking process"


def end_services() -> None:
    """End what the rounds have started for all of them."""
    _STACK.close()


@cache
def _services() -> tuple[Database, Server]:
    """PostgreSQL and an MLflow server over it, as long as this process lives."""
    database = _STACK.enter_context(running_postgres())
    server = _STACK.enter_context(running_mlflow(database, Path(mkdtemp(prefix="mica-chaos-mlflow-"))))
    os.environ["MICA_CHAOS_MLFLOW"] = server.uri  # for this process, which reads the sweep file too
    return database, server


def mlflow_round(scene: Scene) -> Outcome:
    """A driver that shows its records in MLflow, which fails in every way; in the end all is there, once."""
    draw, events = random.Random(scene.seed), Counter[str]()
    database, server = _services()
    options = {"claim": CLAIM, "seeds": 2}
    expected = scene.expect(MLP, options)
    file = write_sweep(scene.folder, MLP, mlflow="$MICA_CHAOS_MLFLOW", **options)
    file.write_text(file.read_text().replace("name: chaos", f"name: chaos{scene.seed}"))
    environment = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "3", "MICA_CHAOS_MLFLOW": server.uri}
    services = {"MLflow's server": server.service, "PostgreSQL": database.service}
    stage = Stage(scene.folder, scene.zygotes, environment, scene.fault)
    with stage, Watcher(scene.folder / "results/chaos") as watcher:
        driver = stage.start(("slow_steps", 0.01))
        strikes = [(name, kind) for name in (*services, _TRACKING) for kind in ("SIGKILL", "SIGSTOP")]
        for name, kind in draw.sample(strikes, len(strikes)):
            time.sleep(draw.uniform(0.5, 2))
            if done(file, expected) or not running(stage):
                break
            if name == _TRACKING:
                _strike_tracking(kind, driver.pid, events)
                continue
            service = services[name]
            events[f"{name} {kind}"] += 1
            service.send(signal.Signals[kind])
            time.sleep(draw.uniform(0.5, 3))
            if kind == "SIGSTOP":
                service.send(signal.SIGCONT)
            else:
                service.kill()
                service.start()
        finish(stage, 300)
        stage.start(arguments=()).wait(120)
    found = Outcome(events, judge(file, _named(expected, scene.seed), watcher, stage.diary))
    found.verdict.faults += _shown(server.uri, f"chaos{scene.seed}", len(expected))
    return found


def _named(expected: Rows, seed: int) -> Rows:
    return {key: {**row, "sweep": f"chaos{seed}"} for key, row in expected.items()}


def _strike_tracking(kind: str, driver: int, events: Counter[str]) -> None:
    """Kill or stop mica's own tracking process."""
    for pid in descendants(driver):
        if "mica.sweep.track" in _title(pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.Signals[kind])
                events[f"{_TRACKING} {kind}"] += 1


def _shown(uri: str, sweep: str, trials: int) -> list[str]:
    """What is wrong with what MLflow shows in the end."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(sweep)
    if experiment is None:
        return ["MLflow shows nothing"]
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    keys = [run.data.tags["mica.trial_key"] for run in runs if "mica.trial_key" in run.data.tags]
    faults = []
    if len(keys) != trials or len(set(keys)) != trials:
        faults.append(f"MLflow shows {len(keys)} runs of {len(set(keys))} trials, not {trials}")
    if open_runs := [run.info.status for run in runs if run.info.status != "FINISHED"]:
        faults.append(f"MLflow: {len(open_runs)} runs are {open_runs[0]}")
    return faults
