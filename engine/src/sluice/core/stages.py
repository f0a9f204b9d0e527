"""The stages of the pipeline in their order, and where the code of each begins; what serves a release is no stage.

A stage is what `pipelines/dvc.yaml` says; here stands what its command calls. All else follows from the imports.
"""

from __future__ import annotations

from collections.abc import Mapping

from sluice.core.closures import Program
from sluice.core.extras import HERE

# The modules of a fork that can change an answer; metrics only read answers.
_ANSWERS = ("assistant.app", "assistant.guardrails", "assistant.providers", "assistant.tools", "assistant.routes")
# The same versions as in dev.txt, without the tools of developers.
_SERVING = "serve.txt"

_ALL = {
    "check": Program(
        ("sluice.data.contract", "sluice.data.privacy", "sluice.evaluation.asked_rows", "sluice.release.coverage"),
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
_EXTRAS = "sluice.extras."


def _is_there(program: Program) -> bool:
    """Whether the project has kept the extra that a stage is of."""
    extras = {module.split(".")[2] for module in program.modules if module.startswith(_EXTRAS)}
    return all((HERE / name).is_dir() for name in extras)


STAGES: Mapping[str, Program] = {name: program for name, program in _ALL.items() if _is_there(program)}
SERVE = Program(("sluice.serving.server", "sluice.release.release_bundle"), _ANSWERS, locks=(_SERVING,))
# What judges a release, deploys it, and watches over its canary.
ROAD = Program(("sluice.jobs.release_steps", "sluice.rollout", "sluice.cluster", "sluice.rehearsal"))
PROGRAMS: Mapping[str, Program] = {**STAGES, "serve": SERVE}
