"""Records evaluations and comparisons in MLflow, once each: files under `.sluice/evaluations/` say which are there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluice.core.atomic_files import read_json, read_jsonl, write_json
from sluice.core.digests import digest_of, digest_of_file
from sluice.core.git import commit
from sluice.core.tracking import log_values, open_tracking, set_globally
from sluice.core.workspace import Workspace
from sluice.evaluation.summary import flat_figures
from sluice.serving.release_parts import ReleaseBundle

if TYPE_CHECKING:  # the stage that answers depend on does not compare
    from sluice.evaluation.comparison_result import Comparison
    from sluice.evaluation.reports import ComparedVersion

EXPERIMENT = "evaluations"
COMPARISONS = "comparisons"
_DIGEST = 36  # characters that MLflow keeps of a dataset's digest


def record_evaluation(workspace: Workspace, bundle: ReleaseBundle, summary: Mapping[str, Any], folder: Path) -> str:
    """Record the result files in `folder`; return the id of the run, the earlier one when nothing is new."""
    prompts = {name: prompt.digest for name, prompt in bundle.prompts.items()}
    figures = {name: value for name, value in summary.items() if name != "recorded"}  # the same result, read again
    identity = digest_of({"release": bundle.release, "prompts": prompts, "figures": figures})
    tags = {"release": bundle.release, "commit": commit(workspace.root)}

    def log(client: Any, run_id: str) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        digest = str(summary["cases_digest"])
        source = json.dumps({"uri": "data/eval.jsonl"})
        profile = json.dumps({"rows": summary["cases"], "cases_digest": digest})
        dataset = Dataset("eval.jsonl", digest[:_DIGEST], "local", source, profile=profile)
        client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "evaluation")])])
        _keep_dataset(client, workspace, digest, read_jsonl(folder / "cases.jsonl"))
        for file in ("cases.jsonl", "summary.json", "metrics.json"):
            client.log_artifact(run_id, str(folder / file))

    return _record(
        workspace,
        EXPERIMENT,
        identity,
        name=bundle.release,
        tags=tags,
        metrics=flat_figures(summary) | {"cases": summary["cases"], "recorded": summary.get("recorded", 0)},
        params={
            **{f"prompt_{name}": digest for name, digest in prompts.items()},
            "service_config": digest_of(bundle.service.model_dump(mode="json")),
            "guardrails_config": digest_of(bundle.guardrails.model_dump(mode="json")),
            "provider": bundle.providers.chat[0].name,
            "provider_model": bundle.providers.chat[0].model,
            "model": bundle.model.stem,
            "adapter": digest_of_file(bundle.adapter) if bundle.adapter else "none",
        },
        log=log,
    )


def record_comparison(
    workspace: Workspace, comparison: Comparison, base: ComparedVersion, head: ComparedVersion, folder: Path
) -> str:
    return _record(
        workspace,
        COMPARISONS,
        digest_of({"base": base.as_dict(), "head": head.as_dict(), "found": comparison.as_dict()}),
        name=f"{head.title} against {base.title}",
        tags={"base": base.title, "head": head.title, "verdict": comparison.verdict},
        metrics={metric.name: metric.judgement.difference for metric in comparison.metrics},
        params={f"{side.name} {part}": digest for side in (base, head) for part, digest in side.parts.items()},
        log=lambda client, run_id: client.log_artifacts(run_id, str(folder)),
    )


def _keep_dataset(client: Any, workspace: Workspace, digest: str, cases: Sequence[Mapping[str, Any]]) -> None:
    experiment, name = open_tracking(workspace, EXPERIMENT).experiment, f"eval-{digest[:12]}"
    set_globally(workspace)
    found = client.search_datasets(filter_string=f"name = '{name}'")
    dataset = found[0] if found else client.create_dataset(name, experiment, tags={"cases_digest": digest})
    dataset.merge_records(
        [{"inputs": {"question": c["question"]}, "expectations": {"expected": c["expected"]}} for c in cases]
    )


def _record(
    workspace: Workspace,
    experiment: str,
    identity: str,
    *,
    name: str,
    tags: dict[str, str],
    metrics: Mapping[str, float | None],
    params: Mapping[str, str],
    log: Callable[[Any, str], None],
) -> str:
    """Return the run in which `identity` was recorded, or a new one, to which `log` adds files."""
    note = workspace.state / "evaluations" / f"{identity}.json"
    if note.is_file():
        return str(read_json(note)["run_id"])
    client, number = open_tracking(workspace, experiment)
    # As mlflow.genai.evaluate marks runs; its pages are shown for experiments of this kind.
    client.set_experiment_tag(number, "mlflow.experimentKind", "genai_development")
    tags = tags | {"mlflow.runType": "genai_evaluate"}
    run_id = str(client.create_run(number, run_name=name, tags=tags).info.run_id)
    log_values(client, run_id, [(key, float(value), 0) for key, value in metrics.items() if value is not None], params)
    log(client, run_id)
    client.set_terminated(run_id)
    write_json(note, {"run_id": run_id})
    return run_id
