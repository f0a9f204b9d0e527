"""A process that puts a release into an artifact store and promotes it, and kills itself before its effect number N.

An effect is a request to a registry or a bucket, a command of git, or a call of obstore. It prints how many there were.
usage: killed_promotion.py ADDRESS CHECKOUT RELEASE N
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import obstore
import requests

from sluice.core.workspace import Workspace
from sluice.release import catalogue, champion, mlflow_registry
from sluice.release.artifact_store import open_artifact_store
from sluice.release.environment_record import EnvironmentRecord

COMMIT = "1" * 40


def stage_and_promote(address: str, workspace: Workspace, release: str) -> None:
    """What the jobs of a release do with the store, with MLflow's alias a file."""
    store = open_artifact_store(address)
    record = EnvironmentRecord(store, "production")
    mlflow_registry.promote_aliases = lambda workspace, manifest, alias: (workspace.root / alias).write_text(
        manifest.id
    )
    champion.reconcile(workspace, record)
    if catalogue.made_for(store, COMMIT) is None:
        catalogue.add(store, workspace, workspace.releases / release, COMMIT)
    champion.promote(workspace, record, release, commit=COMMIT)


def main(address: str, checkout: str, release: str, number: str) -> None:
    done = 0

    def counted(act: Callable[..., Any]) -> Callable[..., Any]:
        def acted(*words: Any, **options: Any) -> Any:
            nonlocal done
            done += 1
            if done == int(number):
                os.kill(os.getpid(), signal.SIGKILL)
            return act(*words, **options)

        return acted

    for owner, name in ((requests.Session, "send"), (subprocess, "run")):
        setattr(owner, name, counted(getattr(owner, name)))
    for name in ("head", "put", "get", "list_with_delimiter"):
        setattr(obstore, name, counted(getattr(obstore, name)))
    stage_and_promote(address, Workspace(Path(checkout)), release)
    print(done)


if __name__ == "__main__":
    main(*sys.argv[1:])
