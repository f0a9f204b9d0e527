"""A project's files can be read and fit together, and nobody has edited the engine."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.core.extras import extras
from sluice.core.project import load_project
from sluice.core.settings import load_settings
from sluice.data import privacy
from sluice.evaluation.comparison_policy import load_policy
from sluice.guardrails.settings import GuardrailSettings
from sluice.llm.model_files import Models, load_models
from sluice.llm.settings import PROMPT_ROLES, load_providers
from sluice.prompts import load_prompts
from sluice.release.gates import load_gates
from sluice.retrieval.stores import Stores
from sluice.rollout.canary_plan import load_plan
from sluice.serving.settings import ServiceSettings
from sluice.serving.telemetry.settings import TelemetrySettings
from sluice.template.owned import OWNED, edits, read_list, refused

FILES: dict[str, Callable[[Path], Any]] = {
    "config/data.yaml": lambda root: privacy.load_policy(root / "config"),
    "config/gates.yaml": lambda root: (
        load_gates(root / "config" / "gates.yaml"),
        load_policy(root / "config/gates.yaml"),
    ),
    "config/guardrails.yaml": lambda root: load_settings(root / "config" / "guardrails.yaml", GuardrailSettings),
    "config/models.yaml": lambda root: load_models(root / "config" / "models.yaml"),
    "config/providers.yaml": lambda root: load_providers(root / "config" / "providers.yaml", roles=Models.roles()),
    "config/service.yaml": lambda root: load_settings(root / "config" / "service.yaml", ServiceSettings),
    "config/stores.yaml": lambda root: load_settings(root / "config" / "stores.yaml", Stores),
    "config/telemetry.yaml": lambda root: load_settings(root / "config" / "telemetry.yaml", TelemetrySettings),
    "k8s/base/rollout.yaml": lambda root: load_plan(root / "k8s" / "base" / "rollout.yaml"),
    "prompts/": lambda root: load_prompts(root / "prompts", roles=PROMPT_ROLES),
}


@pytest.mark.parametrize("name", FILES)
def test_it_can_be_read(root: Path, name: str) -> None:
    assert FILES[name](root)


RULES = {"deletion", "non_fast_forward", "required_linear_history", "pull_request", "required_status_checks"}


def test_the_overlays_are_those_of_the_project(root: Path) -> None:
    project = load_project(root / "config")
    for environment in project.environments:
        overlay = yaml.safe_load((root / "k8s" / "overlays" / environment / "kustomization.yaml").read_text())
        assert {"project": project.name} in [entry.get("pairs") for entry in overlay["labels"]]


def test_the_branch_asks_for_the_job_that_stands_for_all_others(root: Path) -> None:
    ruleset = json.loads((root / ".github" / "rulesets" / "main.json").read_text())
    assert (ruleset["target"], ruleset["enforcement"], ruleset["bypass_actors"]) == ("branch", "active", [])
    rules = {rule["type"]: rule.get("parameters", {}) for rule in ruleset["rules"]}
    assert set(rules) == RULES
    (check,) = rules["required_status_checks"]["required_status_checks"]
    jobs = yaml.safe_load((root / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    assert check["context"] in jobs
    assert rules["pull_request"]["required_approving_review_count"] >= 1


def test_no_file_of_the_engine_was_edited(root: Path, tracked: list[str]) -> None:
    project, owned = load_project(root / "config"), read_list(root, OWNED)
    remedy = "`sluice engine check` writes the lists" if project.template is None else "use the extension points"
    assert not [str(edit) for edit in refused(edits(root, tracked), project.adopted, owned)], remedy


def test_every_share_of_visitors_is_followed_by_an_analysis(root: Path) -> None:
    plan = load_plan(root / "k8s" / "base" / "rollout.yaml")
    weights = [at for at, step in enumerate(plan.steps) if step.weight is not None]
    for at, end in zip(weights, [*weights[1:], len(plan.steps)], strict=True):
        judged = [step for step in plan.steps[at:end] if step.template]
        assert judged, f"nothing judges the step {at}"


def test_answers_are_compared_before_a_visitor_sees_one(root: Path) -> None:
    plan = load_plan(root / "k8s" / "base" / "rollout.yaml")
    first = next(at for at, step in enumerate(plan.steps) if step.weight is not None)
    assert "quality" in [step.template for step in plan.steps[:first] if step.template]


def test_the_tree_has_every_visible_folder_and_nothing_that_is_not_there(root: Path, tracked: list[str]) -> None:
    block = re.search(
        r"^## The tree\n.*?^```\w*\n(.*?)^```$", (root / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert block, "README.md has no fenced block after the heading `## The tree`"
    paths = [path for line in block[1].splitlines() if line for path in re.split(r"\s{2,}", line)[0].split(", ")]
    assert [path for path in paths if not (root / path).exists() or (root / path).is_dir() != path.endswith("/")] == []
    folders = {name.partition("/")[0] + "/" for name in tracked if "/" in name and not name.startswith(".")}
    assert folders <= set(paths)


_LINK = re.compile(r"!?\[[^\]]*\]\(([^()\s]+)\)")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
# An address, or GitHub's own page about a workflow, relative to the README that GitHub shows.
_ELSEWHERE = re.compile(r"[a-z]+:|\.\./\.\./actions/workflows/")


def pages(tracked: list[str]) -> list[str]:
    return [name for name in tracked if name.endswith(".md") and not name.startswith((".github/", "dvc-store/"))]


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+?)\s*$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(root: Path, page: str, text: str) -> list[str]:
    """Return broken links of a page. A project's docs/ are its own, so the engine's links into them are passed over."""
    found = []
    whole = "engine_tests" in extras() or not page.startswith("engine/")
    for target in _LINK.findall(_FENCE.sub("", text)):
        if _ELSEWHERE.match(target):
            continue
        path, _, anchor = target.partition("#")
        file = (root / page).parent / path if path else root / page
        if not whole and file.resolve().is_relative_to((root / "docs").resolve()):
            continue
        if not file.exists():
            found.append(f"{page}: {target}: no such file")
        elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text()):
            found.append(f"{page}: {target}: no such heading")
    return found


def test_every_link_leads_somewhere(root: Path, tracked: list[str]) -> None:
    faults = [fault for page in pages(tracked) for fault in broken(root, page, (root / page).read_text())]
    assert not faults, "\n".join(faults)


def test_every_page_of_the_engine_is_in_its_index(root: Path, tracked: list[str]) -> None:
    for folder in ("engine/docs", "engine/docs/decisions"):
        index = {target.partition("#")[0] for target in _LINK.findall((root / folder / "README.md").read_text())}
        below = "" if folder.endswith("decisions") else "(?:reference/)?"
        here = {one.removeprefix(f"{folder}/") for one in tracked if re.fullmatch(rf"{folder}/{below}[\w-]+\.md", one)}
        assert here - {"README.md"} <= index, folder


def faults_of(book: dict[str, Any]) -> list[str]:
    code = [(number, cell) for number, cell in enumerate(book["cells"]) if cell["cell_type"] == "code"]
    faults = [f"cell {number}: has outputs" for number, cell in code if cell["outputs"]]
    faults += [f"cell {number}: has an execution count" for number, cell in code if cell["execution_count"] is not None]
    faults += [f"cell {number}: has {key}" for number, cell in code for key in cell["metadata"] if key != "tags"]
    if sum("parameters" in cell["metadata"].get("tags", ()) for _, cell in code) != 1:
        faults.append("not one cell with the tag `parameters`")
    if (kernel := book["metadata"].get("kernelspec", {}).get("name")) != "python3":
        faults.append(f"its kernel is {kernel}, not python3")
    return faults


def test_every_notebook_is_stored_without_traces_of_a_run(root: Path, tracked: list[str]) -> None:
    books = [name for name in tracked if name.endswith(".ipynb")]
    assert books
    assert {name: faults_of(json.loads((root / name).read_text())) for name in books} == {name: [] for name in books}
