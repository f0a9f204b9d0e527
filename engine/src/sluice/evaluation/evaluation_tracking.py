"""Records evaluations in MLflow, once each: files under `.sluice/evaluations/` say which are there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import read_json, read_jsonl, write_json
from sluice.core.digests import digest_of, digest_of_file
from sluice.core.git import commit
from sluice.core.tracking import log_values, open_tracking, set_globally
from sluice.core.workspace import Workspace
from sluice.evaluation.summary import flat_figures
from sluice.serving.release_parts import ReleaseBundle

EXPERIMENT = "evaluations"
_DIGEST = 36  # characters that MLflow keeps of a dataset's digest


def record_evaluation(workspace: Workspace, bundle: ReleaseBundle, summary: Mapping[str, Any], folder: Path) -> str:
    """Record the result files in `folder`; return the id of the run, the earlier one when nothing is new."""
    prompts = {name: prompt.digest for name, prompt in bundle.prompts.items()}
    found = {name: value for name, value in summary.items() if name != "recorded"}  # the same result, read again
    identity = digest_of({"release": bundle.release, "prompts": prompts, "figures": found})
    note = workspace.state / "evaluations" / f"{identity}.json"
    if note.is_file():
        return str(read_json(note)["run_id"])
    client, number = open_tracking(workspace, EXPERIMENT)
    # As mlflow.genai.evaluate marks runs; its pages are shown for experiments of this kind.
    client.set_experiment_tag(number, "mlflow.experimentKind", "genai_development")
    tags = {"release": bundle.release, "commit": commit(workspace.root), "mlflow.runType": "genai_evaluate"}
    run_id = str(client.create_run(number, run_name=bundle.release, tags=tags).info.run_id)
    figures = flat_figures(summary) | {"cases": summary["cases"], "recorded": summary.get("recorded", 0)}
    params = {
        **{f"prompt_{name}": digest for name, digest in prompts.items()},
        "service_config": digest_of(bundle.service.model_dump(mode="json")),
        "guardrails_config": digest_of(bundle.guardrails.model_dump(mode="json")),
        "provider": bundle.providers.chat[0].name,
        "provider_model": bundle.providers.chat[0].model,
        "model": bundle.model.stem,
        "adapter": digest_of_file(bundle.adapter) if bundle.adapter else "none",
    }
    log_values(client, run_id, [(key, float(value), 0) for key, value in figures.items() if value is not None], params)
    set_globally(workspace)
    _log_dataset(client, run_id, number, summary, read_jsonl(folder / "cases.jsonl"))
    for file in ("cases.jsonl", "summary.json", "metrics.json"):
        client.log_artifact(run_id, str(folder / file))
    client.set_terminated(run_id)
    write_json(note, {"run_id": run_id})
    return run_id


def _log_dataset(
    client: Any, run_id: str, experiment: str, summary: Mapping[str, Any], cases: Sequence[Mapping[str, Any]]
) -> None:
    """Name the dataset of a run, and keep its cases for mlflow.genai."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    digest = str(summary["cases_digest"])
    source = json.dumps({"uri": "data/eval.jsonl"})
    profile = json.dumps({"rows": summary["cases"], "cases_digest": digest})
    given = Dataset("eval.jsonl", digest[:_DIGEST], "local", source, profile=profile)
    client.log_inputs(run_id, [DatasetInput(given, [InputTag("mlflow.data.context", "evaluation")])])
    name = f"eval-{digest[:12]}"
    found = client.search_datasets(filter_string=f"name = '{name}'")
    dataset = found[0] if found else client.create_dataset(name, experiment, tags={"cases_digest": digest})
    dataset.merge_records(
        [{"inputs": {"question": c["question"]}, "expectations": {"expected": c["expected"]}} for c in cases]
    )
