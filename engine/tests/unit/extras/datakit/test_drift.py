# ruff: noqa: F811 - a fixture that is imported is named by the tests
"""Drift of traffic from the evaluation set."""

from __future__ import annotations

import json
import os
import random
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.data.rows import Row, write_rows
from sluice.extras.datakit import drift
from sluice.extras.datakit.drift import NO_CASES, NO_QUESTIONS, NO_SCORES, DriftPolicy, measure
from sluice.extras.datakit.traffic import Exchange
from unit.cli.published import here, run  # noqa: F401 - fixtures
from unit.extras.datakit.conftest import exchange, line

POLICY = DriftPolicy(p_value=0.01, difference=0.1, min_samples=50)
SUBJECTS = ("tide", "dune", "pier", "mole", "buoy")


def embed(texts: Any) -> Any:
    raw = np.asarray([[float(word in text) for word in (*SUBJECTS, "refund", "login")] + [0.01] for text in texts])
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


@pytest.fixture(autouse=True)
def embedder(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(drift, "open_embedder", lambda _: nullcontext(embed))
    return monkeypatch


def question(rng: random.Random, subjects: tuple[str, ...] = SUBJECTS) -> str:
    return " ".join(["What", "of", "the", *rng.choices(subjects, k=rng.randint(2, 6))]) + "?"


@pytest.fixture
def baseline(workspace: Workspace, embedder: pytest.MonkeyPatch) -> Workspace:
    rng = random.Random(5)
    rows = [Row(id=f"e{n}", question=question(rng), answers=(), doc_ids=()) for n in range(150)]
    write_rows(workspace.data / "eval.jsonl", rows)
    cases = [{"declined": n % 4 == 0, "scores": {"f1": float(n % 3 > 0)}} for n in range(150)]
    file = workspace.build / "evaluation" / "cases.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text("".join(json.dumps(case) + "\n" for case in cases))
    similarities = [rng.gauss(0.7, 0.05) for _ in rows]
    embedder.setattr(drift, "_similarities", lambda _index, _questions: similarities)
    return workspace


def traffic(
    *, subjects: tuple[str, ...] = SUBJECTS, near: float = 0.7, declining: int = 4, bad: int = 3
) -> list[Exchange]:
    rng = random.Random(6)
    rates = [(n % declining == 0, float(n % bad > 0) if n % 2 else None) for n in range(300)]
    return [
        exchange(n, question(rng, subjects), declined=declined, similarity=rng.gauss(near, 0.05), feedback=feedback)
        for n, (declined, feedback) in enumerate(rates)
    ]


def test_traffic_like_the_evaluation_set_is_steady(baseline: Workspace) -> None:
    same = measure(baseline, traffic(), POLICY)
    assert (same["exchanges"], same["shifted"], same["notes"]) == (300, [], [])
    assert [one["verdict"] for one in same["shifts"]] == ["steady"] * 4
    rows = map(json.loads, (baseline.data / "eval.jsonl").read_text().splitlines())
    word_for_word = [exchange(n, row["question"]) for n, row in enumerate(rows)]
    assert measure(baseline, word_for_word, POLICY)["shifts"][0]["verdict"] == "steady"


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"subjects": ("refund", "login")}, "nearness to an evaluation question"),
        ({"near": 0.5}, "similarity of the nearest passage"),
        ({"declining": 2}, "declined"),
        ({"bad": 1}, "good answers, by F1 and by feedback"),
    ],
)
def test_another_traffic_is_told_by_what_moved(baseline: Workspace, changed: dict[str, Any], name: str) -> None:
    assert measure(baseline, traffic(**changed), POLICY)["shifted"] == [name]


def test_what_cannot_be_compared_is_said(workspace: Workspace, embedder: pytest.MonkeyPatch) -> None:
    def without(_: Workspace) -> None:
        raise SluiceError("no model")

    silent = [exchange(n, "", declined=True, similarity=0.7) for n in range(60)]
    found = measure(workspace, silent, POLICY)
    assert (found["shifts"], found["notes"]) == ([], [NO_QUESTIONS, NO_SCORES, NO_CASES])
    embedder.setattr(drift, "open_embedder", without)
    assert measure(workspace, silent, POLICY) == found


def test_the_numbers_that_decide_are_those_of_the_gates(tmp_path: Path) -> None:
    assert drift.load_drift_policy(Path(__file__).parents[5] / "config" / "gates.yaml") == POLICY
    (tmp_path / "gates.yaml").write_text("drift: {p_value: 0.01, psi: 0.2, min_samples: 50}\n")
    with pytest.raises(SluiceError, match=r"drift\.psi: unknown key \(removed: set `difference: 0\.1`"):
        drift.load_drift_policy(tmp_path / "gates.yaml")


def test_a_shift_is_a_refusal_and_no_traffic_is_none(here: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "drift", "--from", "")[0] == 0  # a variable of the repository that nobody has set
    assert not (here.build / "drift").exists()
    cases = here.build / "evaluation" / "cases.jsonl"
    cases.parent.mkdir(parents=True)
    cases.write_text("".join(json.dumps({"declined": n % 4 == 0, "scores": {"f1": 1.0}}) + "\n" for n in range(60)))
    folder = here.state / "traces"
    folder.mkdir(parents=True)
    lines = (line(n, "What of that matter?", declined=n % 4 > 0) for n in range(60))
    (folder / f"1-{os.getpid()}-1.jsonl").write_bytes(b"".join(lines))
    status, out, err = run(capsys, "drift")
    assert (status, "declined" in err) == (3, True)
    figures = json.loads((here.build / "drift" / "drift.json").read_text())
    assert json.loads(out) == figures
    assert "declined" in figures["shifted"]
    page = (here.build / "drift" / "drift.md").read_text()
    assert all(f"| `{one['name']}` | `{one['verdict']}` |" in page for one in figures["shifts"])
    assert "matter" not in page
