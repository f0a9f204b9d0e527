"""What a project uses in place of an edit of the engine, by the path of the file that was edited."""

from __future__ import annotations

from fnmatch import fnmatch

_PROPOSE = "propose the change to the template: an upgrade brings it here"
# The first pattern that matches counts.
_POINTS: tuple[tuple[str, str], ...] = (
    ("engine/src/sluice/evaluation/metrics*", "write a metric in src/assistant/metrics/ with @metric"),
    ("engine/src/sluice/guardrails/*", "write a guardrail in src/assistant/guardrails/ with @check"),
    ("engine/src/sluice/llm/*", "write a provider in src/assistant/ with @provider; config/providers.yaml names it"),
    ("engine/src/sluice/serving/*", "write an endpoint in src/assistant/routes.py; config/service.yaml has the limits"),
    ("engine/src/sluice/prompts/*", "write the prompt in prompts/"),
    ("engine/src/sluice/retrieval/*", "write your application in src/assistant/; config/stores.yaml has the stores"),
    ("engine/src/sluice/r[eo]*", "set steps in k8s/base/rollout.yaml and limits in config/gates.yaml"),
    ("engine/src/sluice/evaluation/*", "write a metric in src/assistant/metrics/; config/gates.yaml has the limits"),
    ("engine/k8s/analysis/*", "set limits in config/gates.yaml (`make sync`), arguments in k8s/base/rollout.yaml"),
    ("engine/k8s/*", "patch it in k8s/overlays/, or change k8s/base/rollout.yaml"),
    ("engine/docs/*", "write your pages in docs/"),
    ("engine/tests/*", "write your tests in tests/"),
    ("engine/scripts/*", "write targets of your own in project.mk"),
    (".github/workflows/*", "write a workflow of your own beside it, or adopt this one"),
    ("Makefile", "write targets of your own in project.mk"),
    ("pipelines/*", "set the numbers in pipelines/params.yaml"),
    ("engine/*", _PROPOSE),
    ("*", f"{_PROPOSE}, or adopt the file"),
)


def point_for(path: str) -> str:
    """What to use in place of an edit of this file of the engine."""
    return next(text for pattern, text in _POINTS if fnmatch(path, pattern))
