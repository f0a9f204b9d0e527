"""Records evaluations and comparisons in MLflow.

There is one run for each bundle and evaluation set, in the experiment `evaluations`: the dataset as an input, the
digests of prompts and model as parameters, every figure as a metric, the result files as artefacts. A comparison is a
run in the experiment `comparisons` with its differences and its reports. What is recorded already is known by a file
under `.sluice/evaluations/`, without MLflow, which takes seconds to import.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluice.core.atomic_files import read_json, write_json
from sluice.core.digests import digest_of, digest_of_file
from sluice.core.git import commit
from sluice.core.tracking import open_tracking
from sluice.core.workspace import Workspace
from sluice.evaluation.summary import flat_figures
from sluice.serving.release_parts import ReleaseBundle

if TYPE_CHECKING:  # the stage that answers depend on does not compare
    from sluice.evaluation.comparison_result import Comparison
    from sluice.evaluation.reports import ComparedVersion

EXPERIMENT = "evaluations"
COMPARISONS = "comparisons"
_DIGEST = 36  # characters that MLflow keeps of a dataset's digest


def record_evaluation(
    workspace: Workspace, bundle: ReleaseBundle, summary: Mapping[str, Any], folder: Path, *, side: str = ""
) -> str:
    """Records the result files in `folder`; returns the id of the run, the earlier one when nothing is new.

    `side`: which of several that are compared this is, such as base or head.
    """
    prompts = {name: prompt.digest for name, prompt in bundle.prompts.items()}
    figures = {name: value for name, value in summary.items() if name != "recorded"}  # the same result, read again
    identity = digest_of({"release": bundle.release, "prompts": prompts, "figures": figures, "side": side})
    if known := _recorded(workspace, identity):
        return known
    client, experiment = open_tracking(workspace, EXPERIMENT)
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

    name = f"{bundle.release} {side}".strip()
    tags = {"release": bundle.release, "commit": commit(workspace.root), "side": side}
    run_id = str(client.create_run(experiment, run_name=name, tags=tags).info.run_id)
    now = int(time.time() * 1000)
    values = {name: value for name, value in flat_figures(summary).items() if value is not None}
    values |= {"cases": summary["cases"], "recorded": summary.get("recorded", 0)}
    client.log_batch(
        run_id,
        metrics=[Metric(name, float(value), now, 0) for name, value in values.items()],
        params=[Param(name, value) for name, value in _parameters(bundle, prompts).items()],
    )
    digest = str(summary["cases_digest"])
    dataset = Dataset(
        name="eval.jsonl",
        digest=digest[:_DIGEST],
        source_type="local",
        source=json.dumps({"uri": "data/eval.jsonl"}),
        profile=json.dumps({"rows": summary["cases"], "cases_digest": digest}),
    )
    client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "evaluation")])])
    for file in ("cases.jsonl", "summary.json", "metrics.json"):
        client.log_artifact(run_id, str(folder / file))
    client.set_terminated(run_id)
    write_json(_note(workspace, identity), {"run_id": run_id})
    return run_id


def record_comparison(
    workspace: Workspace, comparison: Comparison, base: ComparedVersion, head: ComparedVersion, folder: Path
) -> str:
    """Records a comparison with the reports in `folder`; returns the id of the run, the earlier one when nothing is
    new."""
    identity = digest_of({"base": base.as_dict(), "head": head.as_dict(), "found": comparison.as_dict()})
    if known := _recorded(workspace, identity):
        return known
    client, experiment = open_tracking(workspace, COMPARISONS)
    from mlflow.entities import Metric, Param

    tags = {"base": base.title, "head": head.title, "verdict": comparison.verdict}
    run_id = str(client.create_run(experiment, run_name=f"{head.title} against {base.title}", tags=tags).info.run_id)
    now = int(time.time() * 1000)
    found = {metric.name: metric.judgement.difference for metric in comparison.metrics}
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, now, 0) for name, value in found.items() if value is not None],
        params=[Param(f"{side.name} {part}", digest) for side in (base, head) for part, digest in side.parts.items()],
    )
    client.log_artifacts(run_id, str(folder))
    client.set_terminated(run_id)
    write_json(_note(workspace, identity), {"run_id": run_id})
    return run_id


def _note(workspace: Workspace, identity: str) -> Path:
    return workspace.state / "evaluations" / f"{identity}.json"


def _recorded(workspace: Workspace, identity: str) -> str:
    """The run in which this was recorded, empty when it was not."""
    note = _note(workspace, identity)
    return str(read_json(note)["run_id"]) if note.is_file() else ""


def _parameters(bundle: ReleaseBundle, prompts: Mapping[str, str]) -> dict[str, str]:
    """What decided about the answers, by digest or name."""
    provider = bundle.providers.chat[0]
    adapter = digest_of_file(bundle.adapter) if bundle.adapter else "none"
    digests = {f"prompt_{name}": digest for name, digest in prompts.items()}
    config = {
        "service_config": digest_of(bundle.service.model_dump(mode="json")),
        "guardrails_config": digest_of(bundle.guardrails.model_dump(mode="json")),
    }
    return {
        **digests,
        **config,
        "provider": provider.name,
        "provider_model": provider.model,
        "model": bundle.model.stem,
        "adapter": adapter,
    }
