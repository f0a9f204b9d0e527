"""config/project.yaml and the overlays agree, and `.github/rulesets/main.json` asks for a check that exists."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from sluice.core.project import load_project
from sluice.template.owned import version_of

RULES = {"deletion", "non_fast_forward", "required_linear_history", "pull_request", "required_status_checks"}


def test_the_overlays_are_those_of_the_project(root: Path) -> None:
    """`sluice init` keeps them so: the label tells projects apart in a cluster and in a Prometheus."""
    project = load_project(root / "config")
    for environment in project.environments:
        overlay = yaml.safe_load((root / "k8s" / "overlays" / environment / "kustomization.yaml").read_text())
        assert {"project": project.name} in [entry.get("pairs") for entry in overlay["labels"]]


def test_in_the_template_itself_the_version_is_the_one_that_is_tagged(root: Path) -> None:
    if load_project(root / "config").template is None:
        version, changes = version_of(root), (root / "CHANGELOG.md").read_text()
        assert f"This will be {version}," in changes or f"## [{version}]" in changes


def test_the_branch_asks_for_the_job_that_stands_for_all_others(root: Path) -> None:
    ruleset = json.loads((root / ".github" / "rulesets" / "main.json").read_text())
    assert (ruleset["target"], ruleset["enforcement"], ruleset["bypass_actors"]) == ("branch", "active", [])
    rules = {rule["type"]: rule.get("parameters", {}) for rule in ruleset["rules"]}
    assert set(rules) == RULES
    (check,) = rules["required_status_checks"]["required_status_checks"]
    jobs = yaml.safe_load((root / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    assert check["context"] in jobs
    assert rules["pull_request"]["required_approving_review_count"] >= 1
