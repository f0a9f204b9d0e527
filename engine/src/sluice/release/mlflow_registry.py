"""The model registry: MLflow, on SQLite under `.sluice/` or on the server that MLFLOW_TRACKING_URI names.

`record_release` makes one run for each release and registers its adapter, guard model and prompts with the alias
`candidate`; `promote_aliases` moves the alias `champion`, or that of another environment. Both may be called again for
the same release: a version is identified by the digest of its content, so that nothing is registered twice.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import read_json
from sluice.core.tracking import VARIABLE, log_values, open_tracking, tracking_uri
from sluice.core.workspace import Workspace
from sluice.prompts import Prompt, load_prompts
from sluice.release.manifest import ADAPTER, FILE, GUARD, Manifest
from sluice.release.training import FILE as TRAINING
from sluice.release.training import recorded_metrics, recorded_params

ADAPTER_MODEL = "sluice-adapter"
GUARD_MODEL = "sluice-guard"
_TRAINED = {ADAPTER_MODEL: (ADAPTER, "LoRA adapters as GGUF"), GUARD_MODEL: (GUARD, "Guard models as safetensors")}
EXPERIMENT = "releases"
CANDIDATE, CHAMPION = "candidate", "champion"

_IS_PROMPT = "tag.`mlflow.prompt.is_prompt` = 'true'"


def record_release(workspace: Workspace, manifest: Manifest, folder: Path) -> str:
    """Records a release as a run, with the files of its making, and registers what it brings as candidate.

    Args:
        workspace: The checkout, whose store is used unless MLFLOW_TRACKING_URI names a server.
        manifest: Of the release.
        folder: Of the release.

    Returns:
        The id of the run. One that a killed process left unfinished is deleted and made again.
    """
    client = _client(workspace)
    run_id = _finished_run(client, manifest) or _new_run(client, manifest, folder)
    for name, part in _trained(manifest).items():
        version = _file_version(client, name, part) or _register_file(client, manifest, folder, run_id, name)
        client.set_registered_model_alias(name, CANDIDATE, version)
        client.set_tag(run_id, f"{name.removeprefix('sluice-')}_version", version)
    for prompt in load_prompts(folder / "prompts").values():
        version = _prompt_version(client, prompt.name, prompt.digest) or _register_prompt(client, prompt, manifest)
        client.set_prompt_alias(prompt.name, CANDIDATE, int(version))
    return run_id


def promote_aliases(workspace: Workspace, manifest: Manifest, alias: str = CHAMPION) -> None:
    """Moves `alias` to what this release is made of; a release that is not recorded is recorded first.

    A release without an adapter (or a guard model) takes the alias off that model: the champion then has none.
    """
    client = _client(workspace)
    prompts, files = _versions(client, manifest)
    if None in (*prompts.values(), *files.values()):
        record_release(workspace, manifest, workspace.releases / manifest.id)
        prompts, files = _versions(client, manifest)
    for name, version in prompts.items():
        client.set_prompt_alias(name, alias, int(version or 0))
    for name in _TRAINED:
        if version := files.get(name):
            client.set_registered_model_alias(name, alias, version)
        elif client.search_registered_models(f"name = '{name}'"):
            client.delete_registered_model_alias(name, alias)


def finished_run(workspace: Workspace, manifest: Manifest) -> Any | None:
    """The run that MLflow has of a release; None when there is none.

    Args:
        workspace: As for `record_release`.
        manifest: Of the release.
    """
    client = _client(workspace)
    run_id = _finished_run(client, manifest)
    return client.get_run(run_id) if run_id else None


def _client(workspace: Workspace) -> Any:
    client, experiment = open_tracking(workspace, EXPERIMENT)
    import mlflow

    # register_prompt links the version to the experiment that is set globally, in the store that is set globally.
    # MLflow notes both in the environment; there they would decide for other checkouts that this process looks at.
    asked = os.environ.get(VARIABLE)
    mlflow.set_tracking_uri(tracking_uri(workspace))
    mlflow.set_experiment(experiment_id=experiment)
    if asked is None:
        os.environ.pop(VARIABLE, None)
    return client


def _experiment(client: Any) -> str:
    return str(client.get_experiment_by_name(EXPERIMENT).experiment_id)


def _finished_run(client: Any, manifest: Manifest) -> str | None:
    """The run of this release, None when there is none; unfinished ones are deleted."""
    finished = None
    for run in client.search_runs([_experiment(client)], f"tags.release = '{manifest.id}'"):
        if run.info.status == "FINISHED":
            finished = str(run.info.run_id)
        else:
            client.delete_run(run.info.run_id)
    return finished


def _new_run(client: Any, manifest: Manifest, folder: Path) -> str:
    tags = {
        "release": manifest.id,
        "commit": manifest.commit,
        "data": manifest.data.digest,
        "parent": manifest.parent or "",
    }
    run = client.create_run(_experiment(client), run_name=manifest.id, tags=tags)
    run_id = str(run.info.run_id)
    metrics = [(name, value, 0) for name, value in manifest.evaluation.metrics.items() if value is not None]
    params = {f"{role}_sha256": model.sha256 for role, model in manifest.models.items()}
    training = read_json(folder / TRAINING) if (folder / TRAINING).is_file() else {}
    params |= {f"training_{name}": value for name, value in recorded_params(training).items()}
    metrics += [(f"train_{name}", value, step) for name, value, step in recorded_metrics(training)]
    log_values(client, run_id, metrics, params)
    client.log_artifact(run_id, str(folder / FILE))
    if training:
        client.log_artifact(run_id, str(folder / TRAINING))
    if (folder / "evaluation").is_dir():
        client.log_artifacts(run_id, str(folder / "evaluation"), "evaluation")
    client.set_terminated(run_id)
    return run_id


def _trained(manifest: Manifest) -> dict[str, str]:
    """The trained files of a release: the model that each is a version of, and its sha256."""
    adapter = manifest.adapter.sha256 if manifest.adapter else None
    guard = manifest.guardrails.model if manifest.guardrails else None
    return {name: sha256 for name, sha256 in ((ADAPTER_MODEL, adapter), (GUARD_MODEL, guard)) if sha256}


def _versions(client: Any, manifest: Manifest) -> tuple[dict[str, str | None], dict[str, str | None]]:
    """The registered versions of a release's prompts and trained files; None for what is not registered yet."""
    prompts = {name: _prompt_version(client, name, digest) for name, digest in manifest.prompts.items()}
    return prompts, {name: _file_version(client, name, part) for name, part in _trained(manifest).items()}


def _file_version(client: Any, name: str, sha256: str) -> str | None:
    return _first(client.search_model_versions(f"name = '{name}' AND tag.sha256 = '{sha256}'"))


def _register_file(client: Any, manifest: Manifest, folder: Path, run_id: str, name: str) -> str:
    """A new version of a model, from files logged to the run. Releases that share a file share its version."""
    path, what = _TRAINED[name]
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name, description=f"{what}, one version for each content")
    artefacts = name.removeprefix("sluice-")
    client.log_artifact(run_id, str(folder / path), artefacts)
    tags = {"release": manifest.id, "sha256": _trained(manifest)[name], "commit": manifest.commit}
    source = f"runs:/{run_id}/{artefacts}"
    return str(client.create_model_version(name, source, run_id=run_id, tags=tags).version)


def _prompt_version(client: Any, name: str, digest: str) -> str | None:
    return _first(client.search_model_versions(f"name = '{name}' AND {_IS_PROMPT} AND tag.digest = '{digest}'"))


def _register_prompt(client: Any, prompt: Prompt, manifest: Manifest) -> str:
    parameters = prompt.parameters
    registered = client.register_prompt(
        prompt.name,
        [message.model_dump() for message in prompt.messages],
        commit_message=prompt.description,
        tags={"digest": prompt.digest, "commit": manifest.commit, "release": manifest.id},
        model_config={
            "model_name": prompt.model,
            "temperature": parameters.temperature,
            "max_tokens": parameters.max_tokens,
            "top_p": parameters.top_p,
            "stop_sequences": list(parameters.stop),
        },
    )
    return str(registered.version)


def _first(versions: Any) -> str | None:
    found = list(versions)
    return str(found[0].version) if found else None
