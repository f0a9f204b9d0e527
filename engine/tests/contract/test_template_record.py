"""`.template.yaml` says which version this is, and `.github/rulesets/main.json` asks for a check that exists."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import yaml

from sluice.template.names import dump_record, load_record

RULES = {"deletion", "non_fast_forward", "required_linear_history", "pull_request", "required_status_checks"}


def test_in_the_template_itself_names_and_version_are_its_own(root: Path) -> None:
    record = load_record(root)
    assert (root / ".template.yaml").read_text() == dump_record(record)
    assert (root / "engine" / "src" / record.names.package / "__init__.py").is_file()
    if record.names == record.template.names:  # a fork has a version of its own
        version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
        assert record.template.version == version


def test_the_overlays_are_those_of_the_names(root: Path) -> None:
    names = load_record(root).names
    for environment in names.environments:
        overlay = yaml.safe_load((root / "k8s" / "overlays" / environment / "kustomization.yaml").read_text())
        assert overlay["namespace"] == f"{names.name}-{environment}"
        assert names.image in [image["newName"] for image in overlay["images"]]


def test_the_branch_asks_for_the_job_that_stands_for_all_others(root: Path) -> None:
    ruleset = json.loads((root / ".github" / "rulesets" / "main.json").read_text())
    assert (ruleset["target"], ruleset["enforcement"], ruleset["bypass_actors"]) == ("branch", "active", [])
    rules = {rule["type"]: rule.get("parameters", {}) for rule in ruleset["rules"]}
    assert set(rules) == RULES
    (check,) = rules["required_status_checks"]["required_status_checks"]
    jobs = yaml.safe_load((root / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    assert check["context"] in jobs
    assert rules["pull_request"]["required_approving_review_count"] >= 1
