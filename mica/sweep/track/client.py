"""MLflow, quiet and quick to give up: a client, a sweep's experiment, its runs."""

import logging
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mica.sweep.track.credentials import Scrubber
from mica.sweep.track.database import file_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_PAGE, BATCH = 1000, 900
"""Runs a search answers with, and metrics a request takes; MLflow allows 1000 values a request."""
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "PGCONNECT_TIMEOUT": "10",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # every error comes to us as an exception too
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
"""Defaults for what the user has not set: give up soon, say nothing, call nobody."""
_TRIES = 4
"""To reach a database; MLflow's ten take 100 seconds."""


def _settle(uri: str) -> None:
    """Make MLflow quiet and quick to give up, before or after it is imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: F401  (it sets its loggers up, and once only)

    logger = logging.getLogger("mlflow")
    logger.setLevel(os.environ["MLFLOW_LOGGING_LEVEL"].upper())
    for handler in logger.handlers:
        handler.addFilter(Scrubber(uri))
    # urllib3 reports every retry of a request; one warning of ours says as much.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    if not uri.startswith("http"):
        from mlflow.store.db import utils

        utils.MAX_RETRY_COUNT = min(_TRIES, getattr(utils, "MAX_RETRY_COUNT", _TRIES))


def client_of(uri: str) -> "MlflowClient":
    """For this tracking URI; nothing is asked yet."""
    _settle(uri)
    from mlflow import MlflowClient

    return MlflowClient(uri)


def experiment_id(client: "MlflowClient", uri: str, sweep: str) -> str:
    """The sweep's experiment, found or made. May raise what MLflow raises."""
    found = client.get_experiment_by_name(sweep)
    if found is None:
        place = None
        if (file := file_of(uri)) is not None:
            place = (file.parent / "mlflow-artifacts").as_uri()
        tags = {"mlflow.experimentKind": "custom_model_development"}
        try:
            return str(client.create_experiment(sweep, artifact_location=place, tags=tags))
        except Exception:  # another process may have been quicker
            found = client.get_experiment_by_name(sweep)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def tagged_runs(client: "MlflowClient", experiment: str, tag: str, value: str = "%") -> Iterator["Run"]:
    """Those with a tag, page by page: read them all before you change any, for pages shift."""
    token = None
    while True:
        page = client.search_runs(
            [experiment], f"tags.`{tag}` LIKE '{value}'", max_results=_PAGE, page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return
