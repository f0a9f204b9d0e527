"""The MLflow store: SQLite under `.sluice/`, or the server that MLFLOW_TRACKING_URI names; no telemetry.

MLflow takes seconds to import and to make its tables; it is opened once per process and experiment."""

from __future__ import annotations

import functools
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace

VARIABLE = "MLFLOW_TRACKING_URI"
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_MODEL_CATALOG_URI": "",  # prices are looked up on the network otherwise
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
_MOST_METRICS, _MOST_PARAMS = 1000, 100  # in one call


class Tracking(NamedTuple):
    client: Any
    experiment: str


def tracking_uri(workspace: Workspace) -> str:
    return os.environ.get(VARIABLE) or store_uri(workspace)


def on_server() -> bool:
    return bool(os.environ.get(VARIABLE))


def store_uri(workspace: Workspace) -> str:
    """Return the store of this machine, as `mlflow ui --backend-store-uri` takes it."""
    return f"sqlite:///{workspace.state / 'mlflow.db'}"


@functools.cache
def open_tracking(workspace: Workspace, experiment: str) -> Tracking:
    """Open the MLflow store with an experiment, which is made if needed."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    import mlflow

    uri = tracking_uri(workspace)
    workspace.state.mkdir(parents=True, exist_ok=True)
    with tracking_faults(uri):
        client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        found = client.get_experiment_by_name(experiment)
        # Without an explicit place, artifacts of a bare SQLite store land in ./mlruns of the current folder.
        location = (workspace.state / "mlartifacts").as_uri() if uri.startswith("sqlite:") else None
        return Tracking(client, str(found.experiment_id if found else client.create_experiment(experiment, location)))


@contextmanager
def tracking_faults(uri: str) -> Iterator[None]:
    """Turn what MLflow raises in this block into an error for people."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError) as error:
        fix = "move the file away; releases are recorded again when they are promoted"
        if not uri.startswith("sqlite:"):
            fix = "fix the server and run it again: what was begun is completed"
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise SluiceError(f"{uri.removeprefix('sqlite:///')}: MLflow cannot use it: {said}", remedy=fix) from error


def set_globally(workspace: Workspace) -> None:
    """Set the store for parts of MLflow that use a global one. MLflow also notes it in the environment, where it would
    decide for other checkouts of this process."""
    import mlflow

    asked = os.environ.get(VARIABLE)
    mlflow.set_tracking_uri(tracking_uri(workspace))
    if asked is None:
        os.environ.pop(VARIABLE, None)


def log_values(client: Any, run_id: str, metrics: Sequence[tuple[str, float, int]], params: Mapping[str, str]) -> None:
    """Log metrics and parameters to a run, in batches of the sizes that MLflow takes."""
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    for start in range(0, len(metrics), _MOST_METRICS):
        points = metrics[start : start + _MOST_METRICS]
        client.log_batch(run_id, metrics=[Metric(name, value, now, step) for name, value, step in points])
    named = list(params.items())
    for start in range(0, len(named), _MOST_PARAMS):
        client.log_batch(run_id, params=[Param(name, value) for name, value in named[start : start + _MOST_PARAMS]])
