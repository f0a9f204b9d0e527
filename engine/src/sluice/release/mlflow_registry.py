"""The model registry: MLflow, on SQLite under `.sluice/` or on the server that MLFLOW_TRACKING_URI names.

Everything can be repeated: a version is identified by the digest of its content, so nothing is registered twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import read_json
from sluice.core.extras import hooks
from sluice.core.tracking import log_values, open_tracking, set_globally, tracking_faults, tracking_uri
from sluice.core.workspace import Workspace
from sluice.prompts import Prompt, load_prompts
from sluice.release.manifest import ADAPTER, FILE, GUARD, Manifest, load_judgement
from sluice.release.verdict import JUDGEMENT, Judgement

ADAPTER_MODEL = "sluice-adapter"
GUARD_MODEL = "sluice-guard"
_TRAINED = {ADAPTER_MODEL: (ADAPTER, "LoRA adapters as GGUF"), GUARD_MODEL: (GUARD, "Guard models as safetensors")}
IS_PROMPT = "tag.`mlflow.prompt.is_prompt` = 'true'"
EXPERIMENT = "releases"
TRAINING = "training.json"  # what a training notes beside its adapter
CANDIDATE, CHAMPION = "candidate", "champion"


def record_release(workspace: Workspace, manifest: Manifest, folder: Path, alias: str = CANDIDATE) -> str:
    """Record a judgement of a release as a run, register what the release brings, and set an alias."""
    judgement = load_judgement(folder)
    with open_registry(workspace) as client:
        run_id = finished_run(client, judgement) or _new_run(client, manifest, judgement, folder)
        for name, sha256 in _trained(manifest).items():
            version = trained_version(client, name, sha256) or _register_file(client, manifest, folder, run_id, name)
            if "release" not in client.get_model_version(name, version).tags:
                client.set_model_version_tag(name, version, "release", manifest.id)
                client.set_model_version_tag(name, version, "commit", judgement.commit)
            client.set_registered_model_alias(name, alias, version)
            client.set_tag(run_id, f"{name.removeprefix('sluice-')}_version", version)
        for prompt in load_prompts(folder / "prompts").values():
            same = f"name = '{prompt.name}' AND {IS_PROMPT} AND tag.digest = '{prompt.digest}'"
            version = _first(client.search_model_versions(same)) or _register_prompt(client, prompt, judgement)
            client.set_prompt_alias(prompt.name, alias, int(version))
    return run_id


def promote_aliases(workspace: Workspace, manifest: Manifest, alias: str = CHAMPION) -> None:
    """Move `alias` to a release's parts, recording it if needed. Models that it doesn't have lose the alias."""
    record_release(workspace, manifest, workspace.releases / manifest.id, alias)
    with open_registry(workspace) as client:
        for name in _TRAINED.keys() - _trained(manifest).keys():
            if client.search_registered_models(f"name = '{name}'"):
                client.delete_registered_model_alias(name, alias)


def disagreements(workspace: Workspace, live: Manifest | None, alias: str) -> list[str]:
    """Return a line for each model and prompt of which `alias` names something other than the live release has."""
    wanted = live.prompts | _trained(live) if live else {}
    faults = []
    with open_registry(workspace) as client:
        for name in sorted({*_TRAINED, *(wanted or load_prompts(workspace.prompts))}):
            found = _named(client, name, alias)
            digest = found.tags.get("sha256" if name in _TRAINED else "digest") if found else "none"
            if digest != (has := wanted.get(name, "none")):
                there = f"version {found.version} of {found.tags.get('release', 'no release')}, " if found else ""
                faults.append(f"{name}@{alias} is {there}{str(digest)[:12]}; the record has {has[:12]}")
    return faults


@contextmanager
def open_registry(workspace: Workspace) -> Iterator[Any]:
    """Yield the client; what MLflow raises in this block becomes an error for people."""
    client, experiment = open_tracking(workspace, EXPERIMENT)
    import mlflow

    with tracking_faults(tracking_uri(workspace)):
        set_globally(workspace)  # register_prompt links the version to the experiment that is set globally
        mlflow.set_experiment(experiment_id=experiment)
        yield client


def _named(client: Any, name: str, alias: str) -> Any | None:
    found = client.search_registered_models(f"name = '{name}'" + ("" if name in _TRAINED else f" AND {IS_PROMPT}"))
    if not found or (version := found[0].aliases.get(alias)) is None:
        return None
    return (client.get_model_version if name in _TRAINED else client.get_prompt_version)(name, int(version))


def _experiment(client: Any) -> str:
    return str(client.get_experiment_by_name(EXPERIMENT).experiment_id)


def finished_run(client: Any, judgement: Judgement) -> str | None:
    """Return the run of a release's judgement; unfinished ones are deleted."""
    finished = None
    for run in client.search_runs([_experiment(client)], f"tags.release = '{judgement.release}'"):
        if run.info.status != "FINISHED":
            client.delete_run(run.info.run_id)
        elif run.data.tags.get("judgement", judgement.digest) == judgement.digest:  # older runs have no such tag
            finished = str(run.info.run_id)
    return finished


def _new_run(client: Any, manifest: Manifest, judgement: Judgement, folder: Path) -> str:
    tags = {"release": manifest.id, "judgement": judgement.digest, "commit": judgement.commit}
    tags |= {"data": manifest.data.digest, "parent": judgement.parent or ""}
    run = client.create_run(_experiment(client), run_name=manifest.id, tags=tags)
    run_id = str(run.info.run_id)
    metrics = [(name, value, 0) for name, value in judgement.evaluation.metrics.items() if value is not None]
    params = {f"{role}_sha256": model.sha256 for role, model in manifest.models.items()}
    training = read_json(folder / TRAINING) if (folder / TRAINING).is_file() else {}
    params |= {f"training_{name}": value for name, value in recorded_params(training).items()}
    metrics += [(f"train_{name}", value, step) for name, value, step in recorded_metrics(training)]
    log_values(client, run_id, metrics, params)
    for name in (FILE, JUDGEMENT, TRAINING):
        if (folder / name).is_file():
            client.log_artifact(run_id, str(folder / name))
    if (folder / "evaluation").is_dir():
        client.log_artifacts(run_id, str(folder / "evaluation"), "evaluation")
    client.set_terminated(run_id)
    return run_id


def _trained(manifest: Manifest) -> dict[str, str]:
    """Return the sha256 of a release's trained files, by model."""
    adapter = manifest.adapter.sha256 if manifest.adapter else None
    guard = manifest.guardrails.model if manifest.guardrails else None
    return {name: sha256 for name, sha256 in ((ADAPTER_MODEL, adapter), (GUARD_MODEL, guard)) if sha256}


def trained_version(client: Any, name: str, sha256: str) -> str | None:
    """Return the version of a model that has a content; one that can be asked, if there are two."""
    versions = client.search_model_versions(f"name = '{name}' AND tag.sha256 = '{sha256}'")
    return _first(sorted(versions, key=lambda version: not version.source.startswith("models:/")))


def _register_file(client: Any, manifest: Manifest, folder: Path, run_id: str, name: str) -> str:
    if name == ADAPTER_MODEL and (register := next(iter(hooks("adapter").values()), None)):
        return str(register(client, folder / ADAPTER, folder / "config", run_id))
    artefacts = name.removeprefix("sluice-")
    client.log_artifact(run_id, str(folder / _TRAINED[name][0]), artefacts)
    return new_version(client, name, f"runs:/{run_id}/{artefacts}", _trained(manifest)[name], run_id)


def new_version(client: Any, name: str, source: str, sha256: str, run_id: str) -> str:
    """Register a version of a model, and the model if needed."""
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name, description=f"{_TRAINED[name][1]}, one version for each content")
    model = source.removeprefix("models:/") if source.startswith("models:/") else None
    made = client.create_model_version(name, source, run_id or None, {"sha256": sha256}, model_id=model)
    return str(made.version)


def _register_prompt(client: Any, prompt: Prompt, judgement: Judgement) -> str:
    parameters = prompt.parameters
    registered = client.register_prompt(
        prompt.name,
        [message.model_dump() for message in prompt.messages],
        commit_message=prompt.description,
        tags={"digest": prompt.digest, "commit": judgement.commit, "release": judgement.release},
        model_config=parameters.model_dump(include={"temperature", "max_tokens", "top_p"})
        | {"model_name": prompt.model, "stop_sequences": list(parameters.stop)},
    )
    return str(registered.version)


def _first(versions: Any) -> str | None:
    found = list(versions)
    return str(found[0].version) if found else None


_FIGURES = ("seconds", "tokens_per_second", "samples", "held", "skipped", "passes", "peak_memory_bytes")


def recorded_params(record: Mapping[str, Any]) -> dict[str, str]:
    found = dict(record.get("parameters", {}))
    found |= {name: record[name] for name in ("base_sha256", "data_digest") if name in record}
    found |= {f"hardware_{name}": value for name, value in record.get("hardware", {}).items()}
    return {name: str(value) for name, value in found.items()}


def recorded_metrics(record: Mapping[str, Any]) -> list[tuple[str, float, int]]:
    """Return the curves and figures of a training as (name, value, step)."""
    curves = [(name, value, step) for name in ("loss", "held_loss") for step, value in record.get(name, [])]
    figures = [(name, record[name], 0) for name in _FIGURES if record.get(name) is not None]
    return curves + figures
