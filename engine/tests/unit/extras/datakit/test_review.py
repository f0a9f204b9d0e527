from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.data.contract import check
from sluice.data.privacy import DataPolicy
from sluice.data.rows import Row, load_rows
from sluice.extras.datakit import review as module
from sluice.extras.datakit.proposals import accept
from sluice.extras.datakit.review import Review, review_page
from unit.cli.published import run
from unit.extras.datakit.test_start import here  # noqa: F401 - a fixture


@pytest.fixture
def project(here: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:  # noqa: F811
    for side in ("train", "eval"):  # as after an import of one's own documents
        (here.data / f"{side}.jsonl").unlink()
    monkeypatch.chdir(here.root)
    return here


def page(workspace: Workspace, count: int = 60) -> TestClient:
    return TestClient(review_page(Review(workspace, count)), base_url="http://127.0.0.1:8080")


def rows_of(client: TestClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/rows").json()["rows"]
    return found


def decide(client: TestClient, row: dict[str, Any], verdict: str = "yes", **changes: str) -> Any:
    said = {"question": row["question"], "answer": "".join(row["answers"]), **changes}
    return client.post("/decide", json={"id": row["id"], "verdict": verdict, **said})


def in_data(workspace: Workspace) -> dict[str, Row]:
    paths = [path for side in ("train", "eval") if (path := workspace.data / f"{side}.jsonl").is_file()]
    return {row.id: row for path in paths for row in load_rows(path)}


def test_what_a_person_took_or_changed_is_added_and_says_so(project: Workspace) -> None:
    client = page(project)
    rows = rows_of(client)
    refused, changed, *others = rows
    decide(client, refused, "no")
    decide(client, changed, question="May I ask something else?", answer="")
    for row in others:
        assert decide(client, row).status_code == 200
    assert in_data(project) == {}
    later = page(project, 100)
    while rest := rows_of(later):
        for row in rest:
            decide(later, row, "no")
        later = page(project, 100)
    later.post("/add", json={})  # where every row is decided, the page opens to add them
    added = in_data(project)
    assert set(added) == {row["id"] for row in (changed, *others)}
    assert {row.provenance.review for row in added.values() if row.provenance} == {"accepted", "edited"}
    own = added[changed["id"]]
    assert (own.question, own.answers, own.doc_ids) == ("May I ask something else?", (), ())
    assert own.tags == ("unanswered",)
    assert {one["id"] for one in rows if one["side"] == "eval"} - {refused["id"]} <= {
        row.id for row in load_rows(project.data / "eval.jsonl")
    }
    assert check(project.data).faults == ()
    again = client.post("/add", json={})
    assert (again.status_code, in_data(project)) == (200, added), "nothing is added twice"


def test_a_session_that_was_cut_off_goes_on(project: Workspace) -> None:
    client = page(project)
    first, second, third, *_ = rows_of(client)
    decide(client, first, "no")
    decide(client, second)
    decide(client, second, question="Is this better?")
    later = page(project)
    ids = {row["id"] for row in rows_of(later)}
    assert third["id"] in ids
    assert not {first["id"], second["id"]} & ids
    assert decide(later, second).json()["error"]["message"].startswith("the page shows rows of an earlier start")
    later.post("/add", json={})
    assert [row.question for row in in_data(project).values()] == ["Is this better?"]


def test_what_breaks_a_rule_is_told_and_not_kept(project: Workspace) -> None:
    client = page(project)
    row = next(one for one in rows_of(client) if one["answers"])
    for change, what in (({"answer": "the moon"}, "not in its documents"), ({"question": " "}, "blank")):
        reply = decide(client, row, **change)
        assert reply.status_code == 400
        assert what in reply.json()["error"]["message"]
    assert row["id"] in {one["id"] for one in rows_of(page(project))}


def test_the_page_says_what_is_missing_and_what_cannot_be_seen(project: Workspace) -> None:
    client = page(project)
    measured = [row for row in rows_of(client) if row["side"] == "eval"]
    before = client.get("/rows").json()["standing"]
    assert "eval: 0 rows, 0 without an answer" in before
    assert any("decline_accuracy needs 20 rows" in line for line in before)
    standing = [decide(client, row) for row in measured][-1].json()
    assert f"eval: {len(measured)} rows, {sum(not row['answers'] for row in measured)} without an answer" in standing


def test_only_this_machine_may_use_it(project: Workspace) -> None:
    client = page(project)
    assert client.get("/").text.startswith("<!doctype html>")
    assert client.get("/rows", headers={"host": "rebound.example"}).status_code == 403
    assert client.post("/add", json={}, headers={"origin": "https://evil.example"}).status_code == 403


def test_without_a_page_there_are_files_and_nobody_has_read_them(
    project: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "review_page", lambda _: pytest.fail("no page"))
    assert run(capsys, "start", "--no-page", "--out", str(tmp_path / "out"))[0] == 0
    with pytest.raises(SluiceError, match="a model or a template wrote these rows"):
        accept(tmp_path / "out" / "eval" / "rows.jsonl", "eval", project.data, DataPolicy())
    assert accept(tmp_path / "out" / "train" / "rows.jsonl", "train", project.data, DataPolicy()) > 5
