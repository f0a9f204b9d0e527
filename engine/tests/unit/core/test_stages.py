"""Seeded edits of code make exactly those stages stale that can be affected.

What each edit reaches is written down here from what the stages do, not taken from the graph.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

import pytest
import yaml

from sluice.cli.project_files import code_digest
from sluice.core.closures import PROGRAMS, ROAD, STAGES, CodeGraph, affecting
from sluice.core.extras import FOLDER
from sluice.core.workspace import Workspace
from sluice.jobs.dvc_pipeline import command, environment

ROOT = Path(__file__).parents[4]
ALL = {*STAGES, "serve"}
EDITS = {
    # The stage index proves by one search that the store can serve.
    "retrieval search": ("engine/src/sluice/retrieval/search_sql.py", {"index", "evaluate", "serve"}),
    # Training renders prompts/finetune.prompt.yml.
    "prompts": ("engine/src/sluice/prompts/prompt.py", {"train", "evaluate", "serve"}),
    # Every program reads settings.
    "core settings": ("engine/src/sluice/core/settings.py", ALL),
    # The check counts the rows that a metric can score.
    "a metric": ("engine/src/sluice/evaluation/metrics.py", {"check", "evaluate"}),
    "training": ("engine/src/sluice/extras/finetune/training_loop.py", {"train"}),
    "rollout": ("engine/src/sluice/cluster/rollout_observer.py", set()),
}
MORE = {
    "a page": ("engine/src/sluice/serving/chat_page/index.html", {"serve"}),
    "a provider, which is imported by its name": (
        "engine/src/sluice/llm/providers/langchain.py",
        {"evaluate", "serve"},
    ),
    "what the guard model sees": (f"{FOLDER}/guard/guard_features.py", {"guard", "evaluate", "serve"}),
    "the training of the guard model": (f"{FOLDER}/guard/fit_guard_model.py", {"guard"}),
    "a lock of serving": ("engine/requirements/serve.txt", {"index", "train", "serve"}),
    "what my application imports": ("src/assistant/words.py", {"evaluate", "serve"}),
    "my metric": ("src/assistant/metrics/tone.py", {"check", "evaluate"}),
}
# What an extra that was left out has taken along is edited by nobody, and makes no stage.
for _edits in (EDITS, MORE):
    for _title, (_path, _reached) in list(_edits.items()):
        _edits[_title] = (_path, _reached & ALL)
        if _path.startswith(FOLDER) and not (ROOT / _path).exists():
            del _edits[_title]
MINE = {
    "__init__.py": "",
    "app.py": "def build():\n    from assistant.words import HELLO\n    return HELLO\n",
    "words.py": "HELLO = 'hello'\n",
    "notes.py": "",
    "guardrails/__init__.py": "",
    "guardrails/tone.py": "",
    "metrics/__init__.py": "",
    "metrics/tone.py": "",
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of this checkout, with a fork's own package in it."""
    root = tmp_path_factory.mktemp("checkout")
    for folder in ("engine/src", "engine/requirements", "pipelines", "config", "prompts"):
        shutil.copytree(
            ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__", "dvc.lock", "assistant")
        )
    shutil.copy(ROOT / "pyproject.toml", root)
    for name, text in MINE.items():
        path = root / "src" / "assistant" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@contextmanager
def edited(root: Path, name: str) -> Iterator[None]:
    """With a byte more at the end of a file; where nothing of the copy can be meant, a file of this checkout."""
    path = root / name
    if not path.exists():
        shutil.copytree((ROOT / name).parent, path.parent, dirs_exist_ok=True)
    before = path.read_bytes()
    path.write_bytes(before + b"\n")
    try:
        yield
    finally:
        path.write_bytes(before)


def digests(root: Path) -> dict[str, str]:
    graph = CodeGraph(root)
    return {name: graph.code_of(program).digest for name, program in PROGRAMS.items()}


@pytest.fixture(scope="module")
def unedited(checkout: Path) -> Iterator[dict[str, str]]:
    """Digests of the code as it is, before any edit and after all of them."""
    before = digests(checkout)
    yield before
    assert digests(checkout) == before


@pytest.mark.parametrize(("name", "reached"), [*EDITS.values(), *MORE.values()], ids=[*EDITS, *MORE])
def test_an_edit_changes_the_code_of_what_it_can_affect(
    checkout: Path, unedited: dict[str, str], name: str, reached: set[str]
) -> None:
    with edited(checkout, name):
        after = digests(checkout)
    assert {name for name in after if after[name] != unedited[name]} == reached


def test_a_release_is_looked_at_again_for_what_makes_or_deploys_it(checkout: Path) -> None:
    """As the first job on GitHub asks: the road itself counts, what only looks at things does not."""
    road = ["engine/src/sluice/cluster/rollout_observer.py", "engine/src/sluice/release/decision.py"]
    made = ["engine/src/sluice/extras/finetune/training_loop.py", "engine/src/sluice/serving/http_api.py"]
    nothing = ["engine/src/sluice/extras/doctor/local.py", "engine/src/sluice/extras/redteam/attack.py"]
    made = [name for name in made if (checkout / name).exists()]
    names = [name for name in (*road, *made, *nothing) if (checkout / name).exists()]
    assert affecting(checkout, names, *PROGRAMS.values()) == made
    assert affecting(checkout, names, *PROGRAMS.values(), ROAD) == [*road, *made]


STUB = """\
import sys
from pathlib import Path
with open("ran.txt", "a") as log: print(sys.argv[1], file=log)
for name in sys.argv[2:]:
    path = Path(name) if Path(name).suffix else Path(name) / "content"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(name)
"""


@pytest.fixture(scope="module")
def pipeline(checkout: Path) -> Workspace:
    """The stages of pipelines/dvc.yaml, each by its own dependencies, with a command that takes no time; all have
    run."""
    (checkout / "stub.py").write_text(STUB)
    for name in ("train.jsonl", "eval.jsonl", "guard/train.jsonl", "corpus/a.md"):
        path = checkout / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}\n")
    path = checkout / "pipelines" / "dvc.yaml"
    document = yaml.safe_load(path.read_text())
    for name, stage in document["stages"].items():
        if name != "code":
            made = [*stage.get("outs", ()), *stage.get("metrics", ()), *stage.get("plots", ())]
            names = [one if isinstance(one, str) else next(iter(one)) for one in made]
            stage["cmd"] = f"{sys.executable} stub.py {name} {' '.join(names)}"
    path.write_text(yaml.safe_dump(document))
    for words in (("git", "init", "--quiet"), command("dvc", "init", "--quiet")):
        subprocess.run(words, cwd=checkout, check=True)
    there = Workspace(checkout)
    dvc(there, "repro")
    assert ran(there) == list(STAGES)
    return there


def dvc(there: Workspace, *words: str) -> str:
    argv = command("dvc", *words, "pipelines/dvc.yaml")
    done = subprocess.run(argv, cwd=there.root, env=environment(there), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ran(there: Workspace) -> list[str]:
    """The stages that ran since this was asked for the last time."""
    log = there.root / "ran.txt"
    names = log.read_text().split() if log.exists() else []
    log.unlink(missing_ok=True)
    return sorted(names, key=list(STAGES).index)


def stale(there: Workspace) -> set[str]:
    with chdir(there.root):
        code_digest()
    return {name.rpartition(":")[2] for name in json.loads(dvc(there, "status", "--json"))}


def test_dvc_takes_exactly_those_stages_for_stale(pipeline: Workspace) -> None:
    assert stale(pipeline) == {"code"}  # which always runs
    for title in ("prompts", "a metric", "rollout"):
        name, reached = EDITS[title]
        with edited(pipeline.root, name):
            assert stale(pipeline) == {"code", *reached} - {"serve"}, title


def test_dvc_runs_exactly_those_stages_and_takes_them_back_from_its_cache(pipeline: Workspace) -> None:
    with edited(pipeline.root, EDITS["retrieval search"][0]):
        dvc(pipeline, "repro")
        assert ran(pipeline) == ["index", "evaluate"]  # the index is the same, so training need not run
        dvc(pipeline, "repro")
        assert ran(pipeline) == []
    dvc(pipeline, "repro")
    assert ran(pipeline) == []  # as it was before: cached
