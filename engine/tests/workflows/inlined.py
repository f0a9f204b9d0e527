"""A workflow with the reusable ones that it calls written into it.

act ends a run at the first reusable workflow that fails: no later job is even skipped, and no `if: always()` is looked
at. GitHub goes on. So a run in which such a job is to fail is made with the same steps as a job of the caller.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from workflows.act import load

# What the caller says about a job that it calls; the rest is the callee's.
_OF_CALLER = ("name", "needs", "if", "permissions")


def write_inlined(root: Path, workflow: str) -> None:
    """Rewrites the file in `root`, which is a scratch repository. Every workflow that it calls has one job."""
    path = root / ".github" / "workflows" / workflow
    content = load(path)
    content["on"] = content.pop(True)  # YAML 1.1 reads the key `on` as true
    for name, job in content["jobs"].items():
        if job.get("uses", "").startswith("./"):
            content["jobs"][name] = _inlined(job, load(root / job["uses"]))
    path.write_text(yaml.safe_dump(content, sort_keys=False, width=1000))


def _inlined(caller: dict[str, Any], callee: dict[Any, Any]) -> dict[str, Any]:
    ((_, job),) = callee["jobs"].items()
    inputs = (callee[True]["workflow_call"] or {}).get("inputs", {})
    given = {name: f"'{said.get('default', '')}'" for name, said in inputs.items()}
    given |= {name: _expression(str(value)) for name, value in caller.get("with", {}).items()}
    job = _with_inputs(job, given)
    declared = (callee[True]["workflow_call"] or {}).get("outputs", {})
    outputs = {name: job["outputs"][output["value"].split(".")[-1].rstrip(" }")] for name, output in declared.items()}
    return {
        **job,
        **{key: caller[key] for key in _OF_CALLER if key in caller},
        **({"outputs": outputs} if outputs else {}),
    }


def _with_inputs(value: Any, given: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _with_inputs(inner, given) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_inputs(inner, given) for inner in value]
    if isinstance(value, str):
        return re.sub(r"\binputs\.([\w-]+)", lambda found: given[found[1]], value)
    return value


def _expression(value: str) -> str:
    found = re.fullmatch(r"\$\{\{(.*)\}\}", value)
    return f"({found[1].strip()})" if found else f"'{value}'"
