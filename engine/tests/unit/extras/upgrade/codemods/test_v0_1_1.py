from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.extras.upgrade.codemods import v0_1_1
from sluice.extras.upgrade.codemods.v0_1_1 import CUT
from sluice.extras.upgrade.versions import FOLDER, run_codemod
from sluice.template.extras import remove
from unit.template.conftest import ROOT, write

BEFORE = {
    "config/budgets.yaml": "each_key: {}\n",
    "config/conversations.yaml": "retention_days: 30\n",
    "config/service.yaml": "retrieval:\n  k: 5   # ours\n  sentences: 3   # few\nlimits:\n  max_queued: 1\n"
    "  connections:\n    max_open: 9\ndrain_seconds: 20\n",
    "config/gates.yaml": "comparison:\n  metrics:\n    f1: {}\n    toxicity: {decides: always}   # ours\n"
    "drift:\n  p_value: 0.01   # ours\n  psi: 0.2   # as well\n  min_samples: 50\n",
    "config/guardrails.yaml": (
        "timeout_seconds: 2\n"
        "input:\n  - check: attack\n    action: block\n"
        "  - check: toxicity   # ours\n    action: block\n    options:\n      threshold: 0.9\n"
        "  - check: length\n    action: block\n"
        "output:\n  - check: toxicity\n    action: block\n  - check: markup\n    action: block\n"
    ),
    "config/stores.yaml": (
        "default: a\nstores:\n  a:\n    kind: postgres\n"
        "    vectors:   # ours\n      index: binary\n      oversampling: 9\n"
        "  b: {kind: postgres, vectors: {index: full, precision: half}}\n"
        "  c: {kind: postgres, vectors: {index: binary}}\n"
        "  d:\n    kind: postgres\n    vectors:\n      oversampling: 9   # more\n      m: 11\n"
    ),
    "config/project.yaml": "name: desk\nwithout: [budgets, evidence, guard, sweep, traffic, connections]   # ours\n",
    "notebooks/explore.ipynb": '"from sluice.extras.curation.datasheet import card\\n", "curation"\n',
    "src/assistant/app.py": "off = services.settings.retrieval.max_doubt < 1\n",
    "docs/operate.md": "[day](../engine/docs/reference/budgets.md#each), [gates](../engine/docs/reference/gates.md)\n",
    "pipelines/params.yaml": "index: {}\n\nsweep:   # ours\n  trials: 3\n\n  space: {}\n# the guard\nguard: {}\n"
    "redteam: {}\ntrain:\n  steps: 9\n  share: full   # ours\n  join: 2\n  rank: 4\n",
}
AFTER = {
    "config/service.yaml": "retrieval:\n  k: 5   # ours\nlimits:\n  max_queued: 1\ndrain_seconds: 20\n"
    "small_model:\n  sentences: 3\n  max_doubt: 1\n",
    "config/gates.yaml": "comparison:\n  metrics:\n    f1: {}\n",
    "config/guardrails.yaml": (
        "timeout_seconds: 2\n"
        "input:\n  - check: attack\n    action: block\n  - check: length\n    action: block\n"
        "output:\n  - check: markup\n    action: block\n"
    ),
    "config/stores.yaml": (
        "default: a\nstores:\n  a:\n    kind: postgres\n"
        "  b: {kind: postgres, vectors: {precision: half}}\n  c: {kind: postgres, vectors: {}}\n"
        "  d:\n    kind: postgres\n    vectors:\n      m: 11\n"
    ),
    "config/project.yaml": "name: desk\nwithout: [small_model, guard]   # ours\n",
    "notebooks/explore.ipynb": '"from sluice.extras.datakit.dataset import card\\n", "curation"\n',
    "src/assistant/app.py": 'off = getattr(services.settings.small_model, "max_doubt", 1) < 1\n',
    "docs/operate.md": "day, [gates](../engine/docs/reference/gates.md)\n",
    "pipelines/params.yaml": "index: {}\n\n# the guard\nguard: {}\nredteam: {}\ntrain:\n  steps: 9\n  rank: 4\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path, {sign: "" for sign in CUT.values() if "." in sign})
    (tmp_path / "notebooks").mkdir()
    write(tmp_path, {"pipelines/params.yaml": "guard: {}\nredteam: {}\n"})
    return tmp_path


def run(root: Path) -> list[str]:
    """Run the codemod; return the files that it has changed or removed."""
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    run_codemod(ROOT / FOLDER / "v0_1_1.py", root)
    changed = [path for path, content in before.items() if not path.exists() or path.read_bytes() != content]
    return sorted(path.relative_to(root).as_posix() for path in changed)


def test_the_engine_that_is_replaced_learns_what_changed(project: Path) -> None:
    """Engines of 0.1.0 commit only the paths that `apply` returns."""
    write(project, BEFORE)
    assert sorted(v0_1_1.apply(project)) == sorted(BEFORE)
    assert v0_1_1.apply(project) == []
    assert remove(project, ["sweep"]) == []


def test_it_takes_out_what_was_removed_and_nothing_else(project: Path) -> None:
    write(project, BEFORE)
    assert run(project) == sorted(BEFORE)
    left = {path: (project / path).read_text() for path in BEFORE if (project / path).exists()}
    assert left == AFTER
    assert run(project) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("curation, importing, notebook, synthetic, traffic", "datakit, notebook"),
        ("curation, notebook, synthetic, traffic", "notebook"),  # it imports, so it has the kit
    ],
)
def test_extras_that_are_one_are_left_out_where_all_of_them_were(project: Path, before: str, after: str) -> None:
    write(project, {"config/project.yaml": f"without: [{before}]\n"})
    run(project)
    assert (project / "config/project.yaml").read_text() == f"without: [{after}]\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("name: desk\n", "name: desk\nwithout: [guard, hosted, notebook]\n"),
        (
            "without: [guard, tools]   # ours\nname: desk\n",
            "without: [guard, hosted, notebook, tools]   # ours\nname: desk\n",
        ),
    ],
)
def test_what_was_cut_is_switched_off(project: Path, before: str, after: str) -> None:
    (project / "config/hosted.yaml").unlink()
    (project / "notebooks").rmdir()
    write(project, {"config/project.yaml": before, "pipelines/params.yaml": "redteam: {}\n"})
    assert run(project) == ["config/project.yaml"]
    assert (project / "config/project.yaml").read_text() == after
    assert run(project) == []


def test_a_project_that_is_not_one_is_an_error(project: Path) -> None:
    (project / "config/project.yaml").write_bytes(b"\xff")
    with pytest.raises(SluiceError, match="codemod v0_1_1: UnicodeDecodeError"):
        run(project)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("{k: 1, sentences: 0, max_doubt: 1}", "{k: 1}\nsmall_model:\n  sentences: 0\n  max_doubt: 1\n"),
        ("{max_doubt: 0.5, k: 1}\n", "{k: 1}\nsmall_model:\n  sentences: 0\n  max_doubt: 0.5\n"),
    ],
)
def test_the_help_for_a_small_model_moves_out_of_flow_style_too(project: Path, before: str, after: str) -> None:
    write(project, {"config/service.yaml": f"retrieval: {before}"})
    assert run(project) == ["config/service.yaml"]
    assert (project / "config/service.yaml").read_text() == f"retrieval: {after}"
    assert run(project) == []


def test_what_the_template_has_is_kept(project: Path) -> None:
    for path in ("config/guardrails.yaml", "config/stores.yaml", "config/service.yaml", "config/gates.yaml"):
        write(project, {path: (ROOT / path).read_text()})
    assert run(project) == []
