"""The stages of the pipeline in their order, and where the code of each begins; what serves a release is no stage.

A stage is what `pipelines/dvc.yaml` says; here stands what its command calls. All else follows from the imports.
"""

from __future__ import annotations

from collections.abc import Mapping

from sluice.core.closures import Program

# What of a fork's own package can be part of an answer; metrics only look at it.
_ANSWERS = ("assistant.app", "assistant.guardrails", "assistant.providers", "assistant.tools", "assistant.routes")
# The same versions as in dev.txt, without the tools of developers.
_SERVING = "image.txt"

STAGES: Mapping[str, Program] = {
    "check": Program(
        ("sluice.data.contract", "sluice.data.policy", "sluice.evaluation.asked_rows", "sluice.release.coverage"),
        locks=("dev.txt",),
    ),
    "index": Program(("sluice.retrieval.stage",), locks=(_SERVING,)),
    "guard": Program(("sluice.guard_training.stage",), locks=("dev.txt", "corpora.txt")),
    "train": Program(("sluice.extras.finetune.stage",), locks=(_SERVING, "train.txt", "torch.in")),
    "evaluate": Program(
        ("sluice.evaluation.stage", "sluice.serving.bundle"), (*_ANSWERS, "assistant.metrics"), locks=("dev.txt",)
    ),
}
SERVE = Program(("sluice.serving.server", "sluice.release.bundles"), _ANSWERS, locks=(_SERVING,))
# What judges a release, deploys it, and watches over its canary.
ROAD = Program(("sluice.jobs.release_steps", "sluice.rollout", "sluice.cluster", "sluice.rehearsal"))
PROGRAMS: Mapping[str, Program] = {**STAGES, "serve": SERVE}
