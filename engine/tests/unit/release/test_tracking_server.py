# ruff: noqa: F811 - a fixture that is imported is named by the tests
"""Releases beside a real MLflow server: a process of its own, of the installed version, on SQLite."""

from dataclasses import replace
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.release import champion, mlflow_registry
from sluice.release.environment_record import EnvironmentRecord, here
from sluice.release.manifest import Manifest
from sluice.release.mlflow_registry import ADAPTER_MODEL, IS_PROMPT
from support.mlflow_server import MlflowServer, client_of, running, server  # noqa: F401 - fixtures
from unit.release.conftest import Make

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]  # a busy machine takes minutes to start a server


@pytest.fixture
def record(workspace: Workspace, request: pytest.FixtureRequest) -> EnvironmentRecord:
    return replace(here(workspace), environment=request.node.name.removeprefix("test_").replace("_", "-"))


@pytest.fixture
def pair(workspace: Workspace, make: Make) -> tuple[Manifest, Manifest]:
    """Two releases that differ in adapter and prompt."""
    first, _ = make()
    path = workspace.prompts / "answer.prompt.yml"
    path.write_text(path.read_text().replace("{{passages}} {{question}}", "{{question}} {{passages}}"))
    (workspace.build / "adapter/adapter.gguf").write_bytes(b"GGUF another adapter")
    second, _ = make(parent=first.id)
    return first, second


def named(client: Any, alias: str) -> tuple[str | None, str | None]:
    adapters = client.search_registered_models(f"name = '{ADAPTER_MODEL}'")
    prompts = client.search_registered_models(f"name = 'answer' AND {IS_PROMPT}")
    adapter, prompt = (found[0].aliases.get(alias) for found in (adapters, prompts))
    return (
        client.get_model_version(ADAPTER_MODEL, adapter).tags["sha256"] if adapter else None,
        client.get_prompt_version("answer", int(prompt)).tags["digest"] if prompt else None,
    )


def parts(manifest: Manifest) -> tuple[str | None, str]:
    return manifest.adapter.sha256 if manifest.adapter else None, manifest.prompts["answer"]


def events(record: EnvironmentRecord) -> list[tuple[str, str]]:
    return [(event.event, event.id) for event in record.history()]


def test_an_alias_that_somebody_moved_goes_back_to_the_live_release(
    workspace: Workspace,
    pair: tuple[Manifest, Manifest],
    server: MlflowServer,
    record: EnvironmentRecord,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second = pair
    champion.promote(workspace, record, first.id)
    champion.promote(workspace, record, second.id)
    client = client_of(server)
    assert named(client, record.alias) == parts(second)
    (old,) = client.search_model_versions(f"name = '{ADAPTER_MODEL}' AND tag.sha256 = '{parts(first)[0]}'")
    client.set_registered_model_alias(ADAPTER_MODEL, record.alias, old.version)
    before = events(record)
    champion.settle(workspace, record)
    said = capsys.readouterr().err
    ours, theirs = (str(parts(release)[0])[:12] for release in (second, first))
    there = f"{ADAPTER_MODEL}@{record.alias} is version {old.version} of {first.id}, {theirs}"
    assert f"{there}; the record has {ours}: repaired" in said
    assert "answer@" not in said  # the prompt agrees
    assert (events(record), named(client, record.alias)) == (before, parts(second))
    client.delete_prompt_alias("answer", record.alias)
    champion.settle(workspace, record)
    assert f"answer@{record.alias} is none; the record has {parts(second)[1][:12]}: repaired" in capsys.readouterr().err
    assert named(client, record.alias) == parts(second)


@pytest.mark.usefixtures("server")
def test_a_stray_alias_fails(workspace: Workspace, pair: tuple[Manifest, Manifest], record: EnvironmentRecord) -> None:
    first, second = pair
    mlflow_registry.promote_aliases(workspace, first, record.alias)
    with pytest.raises(SluiceError, match="by the record nothing is live") as stopped:
        champion.settle(workspace, record)
    assert f"answer@{record.alias} is version" in str(stopped.value)
    mine = here(workspace)
    mlflow_registry.promote_aliases(workspace, first, mine.alias)  # by production
    mine.append("promoted", second.id)
    with pytest.raises(SluiceError, match=f"by the record {second.id} is live"):
        champion.settle(workspace, mine)
    assert champion.promote(workspace, record, first.id, back=True)  # the remedy that was named
    champion.settle(workspace, record)


def test_a_server_that_dies_leaves_a_promotion_to_complete(
    workspace: Workspace,
    pair: tuple[Manifest, Manifest],
    server: MlflowServer,
    record: EnvironmentRecord,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is killed in turn: after the intent, between two aliases, after the last alias, and before all of it."""
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{server.folder / 'mlflow.db'}", f"sqlite:///{server.folder / 'mlflow.db'}")
    first, second = pair
    champion.promote(workspace, record, first.id)
    append, move = EnvironmentRecord.append, mlflow.MlflowClient.set_registered_model_alias

    def appends_and_dies(self: EnvironmentRecord, *words: Any, **more: Any) -> None:
        append(self, *words, **more)
        server.kill()

    def moves_and_dies(self: Any, *words: Any) -> None:
        move(self, *words)
        server.kill()

    with monkeypatch.context() as patch:
        patch.setattr(EnvironmentRecord, "append", appends_and_dies)
        with pytest.raises(SluiceError, match="what was begun is completed"):
            champion.promote(workspace, record, second.id)
    assert events(record)[2:] == [("promoting", second.id)]
    assert (champion.champion_id(record), named(client, record.alias)) == (first.id, parts(first))
    server.start()
    assert champion.settle(workspace, record) == second.id
    assert (champion.champion_id(record), named(client, record.alias)) == (second.id, parts(second))

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "set_registered_model_alias", moves_and_dies)
        with pytest.raises(SluiceError, match="MLflow cannot use it"):
            champion.promote(workspace, record, first.id, reason="worse", back=True)
    assert named(client, record.alias) == (parts(first)[0], parts(second)[1])
    assert champion.champion_id(record) == second.id
    server.start()
    assert champion.promote(workspace, record, first.id, reason="worse", back=True)  # the same call again
    assert (champion.champion_id(record), named(client, record.alias)) == (first.id, parts(first))

    with monkeypatch.context() as patch:
        patch.setattr(champion, "_approve", lambda *_: server.kill())
        champion.promote(workspace, record, second.id, back=True)  # undone by a person
    assert (champion.champion_id(record), named(client, record.alias)) == (second.id, parts(second))

    before = events(record)
    with pytest.raises(SluiceError, match="MLflow cannot use it"):
        champion.settle(workspace, record)
    assert (events(record), named(client, record.alias)) == (before, parts(second))
