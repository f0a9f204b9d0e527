"""Edits make exactly those stages stale that they can affect, as written here and not taken from the graph."""

import shutil
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

import pytest

from sluice.cli.project_files import code_digest
from sluice.core.closures import PROGRAMS, ROAD, STAGES, CodeGraph, affecting
from sluice.core.extras import FOLDER

ROOT = Path(__file__).parents[4]
ALL = {*STAGES, "serve"}
EDITS = {
    # The stage index proves by one search that the store can serve.
    "retrieval search": ("engine/src/sluice/retrieval/retriever.py", {"index", "evaluate", "serve"}),
    # Training renders prompts/finetune.prompt.yml.
    "prompts": ("engine/src/sluice/prompts/prompt.py", {"train", "evaluate", "serve"}),
    # Every program reads settings.
    "core settings": ("engine/src/sluice/core/settings.py", ALL),
    # The check counts the rows that a metric can score.
    "a metric": ("engine/src/sluice/evaluation/metrics.py", {"check", "evaluate"}),
    "training": ("engine/src/sluice/extras/finetune/sft_trainer.py", {"train"}),
    "rollout": ("engine/src/sluice/cluster/rollout_observer.py", set()),
    "a page": ("engine/src/sluice/serving/chat_page/index.html", {"serve"}),
    "a provider, by its name": ("engine/src/sluice/llm/providers/langchain.py", {"evaluate", "serve"}),
    "what the guard model sees": (f"{FOLDER}/guard/guard_features.py", {"guard", "evaluate", "serve"}),
    "the training of the guard model": (f"{FOLDER}/guard/fit_guard_model.py", {"guard"}),
    "a lock of serving": ("engine/requirements/serve.txt", {"index", "train", "serve"}),
    "what my application imports": ("src/assistant/words.py", {"evaluate", "serve"}),
    "my metric": ("src/assistant/metrics/tone.py", {"check", "evaluate"}),
}
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
    root = tmp_path_factory.mktemp("checkout")
    for folder in ("engine/src", "engine/requirements", "pipelines", "config", "prompts"):
        ignore = shutil.ignore_patterns("__pycache__", "dvc.lock", "assistant")
        shutil.copytree(ROOT / folder, root / folder, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", root)
    for name, text in MINE.items():
        path = root / "src" / "assistant" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@contextmanager
def edited(root: Path, name: str) -> Iterator[None]:
    before = (root / name).read_bytes()
    (root / name).write_bytes(before + b"\n")
    try:
        yield
    finally:
        (root / name).write_bytes(before)


def test_an_edit_changes_the_code_of_what_it_can_affect(checkout: Path) -> None:
    graph = CodeGraph(checkout)  # a byte changes no import

    def digests() -> dict[str, str]:
        return {name: graph.code_of(program).digest for name, program in PROGRAMS.items()}

    before = digests()
    for title, (name, reached) in EDITS.items():
        with edited(checkout, name):
            after = digests()
        assert {program for program in after if after[program] != before[program]} == reached & ALL, title
    assert digests() == before


def test_a_release_is_looked_at_again_for_what_makes_or_deploys_it(checkout: Path) -> None:
    road = ["engine/src/sluice/cluster/rollout_observer.py", "engine/src/sluice/release/champion.py"]
    made = ["engine/src/sluice/extras/finetune/sft_trainer.py", "engine/src/sluice/serving/http_api.py"]
    nothing = ["engine/src/sluice/extras/doctor/local.py", "engine/src/sluice/extras/redteam/attack.py"]
    names = [*road, *made, *nothing]
    assert affecting(checkout, names, *PROGRAMS.values()) == made
    assert affecting(checkout, names, *PROGRAMS.values(), ROAD) == [*road, *made]


def test_the_command_says_what_changed(checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with chdir(checkout):
        code_digest(tmp_path)
        assert {path.stem for path in tmp_path.iterdir()} == {*PROGRAMS}
        assert capsys.readouterr().out.splitlines()[0] == "check: listed for the first time"
        with edited(checkout, EDITS["training"][0]):
            code_digest(tmp_path)
        assert capsys.readouterr().out == "train: 1 file changed: sluice/extras/finetune/sft_trainer.py\n"
