"""The optional parts of the engine, `sluice.extras.NAME`, and which of them a project has switched off.

`without:` in config/project.yaml switches parts off: nothing of them is imported. The rest of the engine imports no
part; it asks `hooks` and `packages` here. Only the standard library is needed, so that a job can plan before anything
is installed."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from sluice.core.errors import SluiceError, nearest
from sluice.core.removed import replacement

FOLDER = "engine/src/sluice/extras"
HERE = Path(__file__).resolve().parent.parent / "extras"
PROJECT = "config/project.yaml"
_SETUP = Path("engine", "scripts", "setup.py")
# Read without a YAML parser: a list in brackets, or one item a line.
_WITHOUT = re.compile(r"^without:\s*(\[[^\]]*\]|(?:- *[\w'\"]+\s*)*)", re.MULTILINE)


@dataclass(frozen=True)
class Extra:
    """The additions of a part beside the commands in its cli.py. References are `module:name`, below its package.

    Attributes:
        needs: parts that it imports; it is off if one of them is.
        hooks: functions that the engine or another part calls, by the name of the occasion.
        parameters: the settings of sections of pipelines/params.yaml, by section.
        checks, metrics: names of those that it adds; config files may name them while it is off.
        gates: the stages of config/gates.yaml that it measures.
        stages: files that a stage of the pipeline writes, by its command; they are empty if the part is off.
    """

    summary: str
    needs: tuple[str, ...] = ()
    hooks: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    checks: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()
    stages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


# One entry for each folder of sluice/extras/; one with a cli.py adds commands.
EXTRAS: Mapping[str, Extra] = {
    "admin": Extra(
        "looks after vector stores, caches, the artifact store, what a cluster keeps: lists, checks, prunes, drops",
        hooks={"promoted": "retention:tidy_cluster"},
        gates=("index",),
    ),
    "aws_models": Extra("chat models on Bedrock and SageMaker endpoints: the providers `bedrock` and `sagemaker`"),
    "calibration": Extra(
        "the metric `judge`: a language model grades answers; compares it with people",
        needs=("prompt_tests",),
        hooks={"judge": "release_judge:open_judge"},
        metrics=("judge",),
        gates=("calibration",),
    ),
    "clients": Extra(
        "tools and forms of the caller's own, the Responses API, and an MCP server",
        hooks={
            "caller_options": "options:read_options",
            "local_form": "local_form:held",
            "routes": "routes:add_routes",
        },
        checks=("format",),
    ),
    "datakit": Extra(
        "brings rows in: imports, a first set, traffic; redacts, compares and describes the data set",
        needs=("prompt_tests", "pull_requests", "traces"),
    ),
    "doctor": Extra("says what is missing on this machine, on GitHub, in AWS, in the cluster"),
    "engine_tests": Extra(
        "tests the engine on GitHub and publishes its versions: the template's own work, off in a project",
        needs=("upgrade",),
    ),
    "finetune": Extra(
        "fine-tunes the adapter: the stage `train`",
        needs=("small_model",),
        hooks={"adapter": "training_record:register_adapter", "take_adapter": "training_record:take_adapter"},
        parameters={"train": "training_parameters:TrainingParameters"},
        stages={"train": ("build/adapter/adapter.gguf", "build/adapter/training.json", "build/adapter/loss.csv")},
    ),
    "first_release": Extra(
        "judges the first release of an environment of a cluster before a route leads visitors to it",
        hooks={"first_release": "first_release:first_release"},
    ),
    "fleet": Extra(
        "many projects from one template, for a platform team: status, upgrades in rings",
        needs=("doctor", "pull_requests", "upgrade"),
        hooks={"schemas": "fleet_file:schemas"},
    ),
    "guard": Extra(
        "finds attacks: the guard model, its training, the stage `guard` and the checks",
        hooks={"data_check": "guard_rows:check_guard", "guard_model": "guard_model:load_guard_model"},
        parameters={"guard": "guard_rows:GuardParameters"},
        checks=("attack", "topic"),
        stages={"guard train": ("build/guard/guard.safetensors", "build/guard/report.json")},
    ),
    "hosted": Extra(
        "compares pull requests with a hosted model, although they have no key",
        hooks={
            "unanswered": "answers_file:unanswered",
            "schemas": "request_file:schemas",
            "variables": "doctor:secrets",
            "github": "doctor:checks",
            "account": "doctor:account_checks",
        },
    ),
    "image": Extra("builds the container images with buildah and pushes them"),
    "language": Extra(
        "metrics of answers: `language`, `same_language`, and `groundedness` in the passages",
        metrics=("language", "same_language", "groundedness"),
    ),
    "notebook": Extra(
        "a notebook: data, a training run, comparison and promotion by hand", needs=("datakit", "finetune")
    ),
    "prompt_lab": Extra("`make try`: an editor of the prompt beside the chat, with a verdict on each edit"),
    "prompt_tests": Extra(
        "lists prompts, shows what changed and how they are filled in, and tries them on their own cases"
    ),
    "provenance": Extra(
        "SHA256SUMS of each release",
        hooks={"release_written": "checksums:write_checksums", "verify_release": "checksums:check_checksums"},
    ),
    "pull_requests": Extra(
        "comments on pull requests, and opens those of parts that propose changes: rows of data, upgrades",
        hooks={"outdated": "pull_request_comment:mark_outdated"},
    ),
    "redteam": Extra(
        "attacks a release, and says which attacks succeed",
        parameters={"redteam": "drill:RedTeamParameters"},
        gates=("redteam",),
    ),
    "registry": Extra(
        "keeps artefacts in an OCI registry and the record in git refs: the artifact stores `github` and `oci://…`",
        hooks={"artifact_store": "registry_store:open_registry_store"},
    ),
    "sagemaker": Extra(
        "trains and serves on SageMaker",
        needs=("finetune", "guard"),
        hooks={
            "train": "train:train",
            "training_processes": "train:training_processes",
            "champion": "results:follow_champion",
            "account": "doctor:account_checks",
            "variables": "doctor:variables",
        },
    ),
    "small_model": Extra(
        "helps a small model: chooses sentences, mends spelling, declines what the passages leave out",
        hooks={"small_model": "assistance:SmallModelAssistance"},
    ),
    "tools": Extra(
        "tools that the model may call: functions and MCP servers, bounded, and approved where they write",
        hooks={
            "agent": "release_agent:make_agent",
            "case_note": "expected_calls:parting",
            "data_check": "expected_calls:check_rows",
            "evaluated_case": "release_agent:evaluated_case",
            "routes": "routes:add_routes",
            "tool_pins": "settings:tool_pins",
        },
        metrics=("tool_calls", "world_after"),
    ),
    "traces": Extra(
        "sends traces to MLflow, Langfuse or a collector; loads those kept on disk into MLflow",
        hooks={"trace_exporters": "exporters:open_exporters"},
    ),
    "upgrade": Extra(
        "names a project, takes later versions of the template, holds the engine in git or from a wheel",
        needs=("pull_requests",),
        hooks={"checkout": "held_engine:bring", "github": "doctor:checks"},
    ),
    "vllm_adapters": Extra(
        "serves the adapter of each release by one vLLM: the kind of provider `vllm`, a loader beside vLLM",
        hooks={"model_names": "providers.vllm:model_names", "adapter_forms": "peft_form:pin_peft_form"},
    ),
}


def require_known(names: set[str]) -> None:
    for name in sorted(names - EXTRAS.keys()):
        hint = replacement(f"extra: {name}") or nearest(name, list(EXTRAS))
        raise SluiceError(f"no extra {name!r}{hint}", remedy=f"there are {', '.join(EXTRAS)}")


def with_dependents(names: set[str]) -> set[str]:
    """Add the parts that need one of the named ones."""
    while more := {name for name, extra in EXTRAS.items() if names & set(extra.needs)} - names:
        names = names | more
    return names


def left_out(root: Path) -> set[str]:
    """Return the parts that are off in a checkout, by its config/project.yaml."""
    return with_dependents(_named(root) & EXTRAS.keys())


@cache
def extras() -> dict[str, Extra]:
    """Return the parts that are on where this code runs: in its checkout, or in the folder of an image."""
    root = HERE.parents[3] if (HERE.parents[3] / PROJECT).is_file() else Path.cwd()
    try:
        require_known(_named(root))
    except SluiceError as error:
        raise SluiceError(f"{root / PROJECT}: without: {error.message}", remedy=error.remedy) from None
    off = left_out(root)
    return {name: extra for name, extra in EXTRAS.items() if name not in off}


def _named(root: Path) -> set[str]:
    file = root / PROJECT
    text = re.sub(r"#.*", "", file.read_text(encoding="utf-8")) if file.is_file() else ""
    found = _WITHOUT.search(text)
    return set(re.findall(r"\w+", found[1])) if found else set()


def packages(name: str) -> tuple[str, ...]:
    """Return the packages of one name of parts that are on, for a registry: `sluice.extras.guard.checks`."""
    return tuple(
        f"sluice.extras.{extra}.{name}" for extra in extras() if (HERE / extra / name / "__init__.py").is_file()
    )


def is_left_out(kind: Literal["checks", "metrics"], name: str) -> bool:
    """Return whether a check or a metric is of a part that is off."""
    on = extras()
    return any(name in getattr(extra, kind) for part, extra in EXTRAS.items() if part not in on)


def load(extra: str, reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(f"sluice.extras.{extra}.{module}"), name)


def hooks(occasion: str) -> dict[str, Callable[..., Any]]:
    """Return the functions that parts have for an occasion, by the name of the part."""
    found = extras().items()
    return {name: load(name, extra.hooks[occasion]) for name, extra in found if occasion in extra.hooks}


def install_training_packages(stage: str) -> None:
    """Run the level `training` of engine/scripts/setup.py once on this machine; `stage` asks for it."""
    from filelock import FileLock

    folder = Path(sys.prefix)
    if not (folder.parent / _SETUP).is_file():
        remedy = "install engine/src/sluice/extras/finetune/requirements/train.txt and torch"
        raise SluiceError(f"{stage} needs torch, transformers and peft, which are not installed here", remedy=remedy)
    marker = folder / ".training"
    with FileLock(folder / ".training.lock"):
        if not marker.exists():
            print(f"{stage}: installing torch and what trains (about 2 GB, once)", file=sys.stderr, flush=True)
            command = [sys.executable, str(_SETUP), str(folder), "training"]
            if subprocess.run(command, cwd=folder.parent).returncode:
                raise SluiceError(f"{stage}: the packages it needs were not installed", remedy="see above")
            marker.touch()
    importlib.invalidate_caches()
