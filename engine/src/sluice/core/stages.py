"""The stages of the pipeline in their order, and where the code of each begins; what serves a release is no stage.

A stage is what `pipelines/dvc.yaml` says; here stands what its command calls. All else follows from the imports.
"""

from __future__ import annotations

from collections.abc import Mapping

from sluice.core.closures import Program
from sluice.core.extras import extras

# The modules of a fork that can change an answer; metrics only read answers.
_ANSWERS = ("assistant.app", "assistant.guardrails", "assistant.providers", "assistant.tools", "assistant.routes")
# The same versions as in dev.txt, without the tools of developers.
_SERVING = "serve.txt"

_ALL: Mapping[str, Program] = {
    "check": Program(
        ("sluice.data.contract", "sluice.data.data_policy", "sluice.evaluation.asked_rows", "sluice.release.coverage"),
        ("assistant.metrics",),
        locks=("dev.txt",),
    ),
    "index": Program(("sluice.retrieval.index_stage",), locks=(_SERVING,)),
    "guard": Program(("sluice.extras.guard.guard_stage",), locks=("dev.txt", "corpora.txt")),
    "train": Program(("sluice.extras.finetune.train_stage",), locks=(_SERVING, "train.txt", "qlora.txt", "torch.in")),
    "evaluate": Program(
        ("sluice.evaluation.evaluate_stage", "sluice.serving.release_parts"),
        (*_ANSWERS, "assistant.metrics"),
        locks=("dev.txt",),
    ),
}
_OPTIONAL = {"guard": "guard", "train": "finetune"}  # the part that a stage is of
# The stages that do something: DVC also runs one of a part that is off, which then leaves empty files.
STAGES: Mapping[str, Program] = {name: one for name, one in _ALL.items() if _OPTIONAL.get(name, "") in ("", *extras())}
SERVE = Program(("sluice.serving.server", "sluice.release.release_bundle"), _ANSWERS, locks=(_SERVING,))
# What judges a release, deploys it, and watches over its canary.
ROAD = Program(("sluice.jobs.release_steps", "sluice.rollout", "sluice.cluster", "sluice.rehearsal"))
PROGRAMS: Mapping[str, Program] = {**_ALL, "serve": SERVE}
