# ruff: noqa: F811 - fixtures that are imported are named by the tests
"""Each role may do what releases ask of the bucket of artefacts, and nothing else.

The store speaks to S3 by obstore, whose calls are noted at its door; a folder stands for the bucket. By AWS's service
authorization reference head and get ask for GetObject, put for PutObject, both lists for ListBucket.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import obstore
import pytest

from sluice.core.workspace import Workspace
from sluice.release import artifact_store, catalogue
from sluice.release.artifact_store import open_artifact_store
from sluice.release.catalogue import fetch
from sluice.release.environment_record import EnvironmentRecord
from support.aws.role_policies import ACCOUNT, NAME, OTHER_ACCOUNT, allows, resolved, statements
from unit.aws.test_bootstrap import chosen, template
from unit.release.conftest import make, small_models, workspace  # noqa: F401 - fixtures

BUCKET = f"arn:aws:s3:::{NAME}-artefacts-{ACCOUNT}"
_ACTIONS = {"head": "GetObject", "get": "GetObject", "put": "PutObject", "delete": "DeleteObject"}
_LISTS = ("list", "list_with_delimiter")
Asked = set[tuple[str, str, str]]  # action, resource, and the folder that it lies in
Record = Callable[[str], EnvironmentRecord]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    found: Asked = set()

    def noting(call: str) -> Callable[..., Any]:
        def called(store: Any, key: str, *words: Any, **more: Any) -> Any:
            name = key.rpartition("/place/")[2]
            if call in _LISTS:
                found.add(("s3:ListBucket", BUCKET, ""))
            else:
                found.add((f"s3:{_ACTIONS[call]}", f"{BUCKET}/{name}", name.rpartition("/")[0]))
            return getattr(obstore, call)(store, key, *words, **more)

        return called

    calls = {call: noting(call) for call in (*_ACTIONS, *_LISTS)}
    monkeypatch.setattr(artifact_store, "obstore", SimpleNamespace(**calls))
    return found


@pytest.fixture
def record(tmp_path: Path) -> Record:
    store = open_artifact_store(str(tmp_path / "place"))
    return lambda environment: EnvironmentRecord(store, environment)


def refused(asked: Asked, *resources: str) -> set[tuple[str, str]]:
    """Return the actions and folders that these resources of the template don't allow."""
    held = statements(template(), *resources)
    return {(action, folder) for action, resource, folder in asked if not allows(held, action, resource, {})}


@pytest.fixture
def release(small_models: None, make: Callable[..., Any]) -> tuple[str, Path]:  # noqa: ARG001
    manifest, folder = make()
    return manifest.id, folder


@pytest.fixture
def fetched(workspace: Workspace, release: tuple[str, Path], asked: Asked) -> Callable[[EnvironmentRecord], None]:
    """Adds the release to the catalogue and fetches it; only what the latter asks for is noted."""

    def add_and_fetch(here: EnvironmentRecord) -> None:
        catalogue.add(here.store, workspace, release[1], "0" * 40)
        entry = next(catalogue.newest(here.store))
        asked.clear()
        fetch(entry.digest, here.store, workspace.root / "fetched", workspace)

    return add_and_fetch


def test_building_keeps_a_release_notes_its_end_and_removes_what_nobody_needs(
    workspace: Workspace, release: tuple[str, Path], record: Record, asked: Asked
) -> None:
    store = record("production").store
    catalogue.add(store, workspace, release[1], "0" * 40)
    record("production").append("rejected", release[0], reason="too slow")
    assert next(catalogue.newest(store)).id == release[0]
    for name in store.unneeded([], datetime.now(UTC)):
        store.remove(name)
    assert {folder for action, _, folder in asked if action == "s3:DeleteObject"} == {"sha256"}
    assert {folder for action, _, folder in asked if action == "s3:PutObject"} == {
        "sha256",
        "record/releases",
        "record/refused/production",
    }
    assert refused(asked, "BuildRole") == set()
    held = statements(template(), "BuildRole")
    for action, folder in (("Put", "record/production"), ("Delete", "record/production"), ("Delete", "record/refused")):
        assert not allows(held, f"s3:{action}Object", f"{BUCKET}/{folder}/000001.json", {})


@pytest.mark.parametrize(
    ("environment", "role", "other"),
    [("staging", "StagingRole", "ProductionRole"), ("production", "ProductionRole", "StagingRole")],
)
def test_an_environment_reads_releases_and_writes_its_own_record_alone(
    fetched: Callable[[EnvironmentRecord], None],
    release: tuple[str, Path],
    record: Record,
    asked: Asked,
    environment: str,
    role: str,
    other: str,
) -> None:
    here = record(environment)
    fetched(here)
    here.append("promoting", release[0])
    here.append("promoted", release[0])
    here.append("rejected", release[0])
    assert here.champion()
    assert refused(asked, role, "DeployPolicy") == set()
    writes = {("s3:PutObject", f"record/{folder}{environment}") for folder in ("", "refused/")}
    assert refused(asked, other, "DeployPolicy") == refused(asked, "DeployPolicy") == writes
    asked.clear()
    here.store.put("0" * 64, release[1] / "release.json")
    assert refused(asked, role, "DeployPolicy") == {("s3:PutObject", "sha256")}


def test_from_an_account_of_its_own_production_asks_for_what_both_accounts_allow(
    fetched: Callable[[EnvironmentRecord], None], release: tuple[str, Path], record: Record, asked: Asked
) -> None:
    """Across accounts both policies are to allow a request (IAM user guide, "Cross-account policy evaluation")."""
    held = statements(template(), "BuildAccountPolicy")
    policy = template()["Resources"]["ArtefactsPolicy"]["Properties"]["PolicyDocument"]
    lent = [resolved(one) for one in chosen(policy, ["LendsToAccount"]) if one["Effect"] == "Allow"]
    assert {one["Principal"]["AWS"] for one in lent} == {f"arn:aws:iam::{OTHER_ACCOUNT}:root"}

    def refused_to(role: str) -> set[tuple[str, str]]:
        keys = {"aws:PrincipalArn": f"arn:aws:iam::{OTHER_ACCOUNT}:role/{NAME}-{role}"}
        return {
            (action, folder)
            for action, resource, folder in asked
            if not (allows(held, action, resource, keys) and allows(lent, action, resource, keys))
        }

    here = record("production")
    fetched(here)
    assert refused_to("serving") == refused_to("deploy-production") == set()
    here.append("promoted", release[0])
    here.append("rejected", release[0])
    assert here.champion()
    assert refused_to("deploy-production") == set()
    records = {"record/production", "record/refused/production"}
    assert refused_to("serving") == {(f"s3:{call}Object", one) for call in ("Get", "Put") for one in records}
    record("staging").append("promoted", release[0])
    writes = {(action, folder) for action, folder in refused_to("deploy-production") if action == "s3:PutObject"}
    assert writes == {("s3:PutObject", "record/staging")}


def test_pods_fetch_a_release_and_may_not_read_a_record(
    fetched: Callable[[EnvironmentRecord], None], release: tuple[str, Path], record: Record, asked: Asked
) -> None:
    here = record("production")
    fetched(here)
    assert {action for action, _, _ in asked} == {"s3:GetObject"}
    assert refused(asked, "ServingRole") == set()
    asked.clear()
    here.append("promoted", release[0])
    list(here.history())
    assert {("s3:GetObject", "record/production"), ("s3:PutObject", "record/production")} == refused(
        asked, "ServingRole"
    )
