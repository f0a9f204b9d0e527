"""The page of `sluice data start`: a person says yes or no to each proposed row, or changes it, and adds them."""

from __future__ import annotations

from importlib import resources
from typing import Any, Literal

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from sluice.core.atomic_files import read_jsonl, write_jsonl
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.settings import Settings
from sluice.core.workspace import Workspace
from sluice.data.contract import check_rows_privacy
from sluice.data.privacy import load_policy
from sluice.data.row_rules import check_rows
from sluice.data.rows import Row, load_corpus, load_rows, write_rows
from sluice.data.scanning import LocatedRecord
from sluice.extras.datakit.proposals import SIDES, Proposal, accept
from sluice.extras.datakit.start import propose
from sluice.release.decision import detection, require_rows
from sluice.serving.auth import LoopbackMiddleware
from sluice.serving.chat_page import page_headers
from sluice.serving.replies import error_response


class Decision(Settings):
    """`yes` takes the row with the texts given; without an answer it is one that the documents don't answer."""

    id: str
    verdict: Literal["yes", "no"]
    question: str = ""
    answer: str = ""


class Review:
    """The decisions of a checkout, each on disk at once, and the proposals that wait for one."""

    def __init__(self, workspace: Workspace, count: int) -> None:
        self._workspace, self._policy = workspace, load_policy(workspace.config)
        self._file = workspace.state / "start" / "decisions.jsonl"
        self._decided = {one["row"]["id"]: one for one in (read_jsonl(self._file) if self._file.is_file() else ())}
        known = {side: [*self._in_data(side), *self._of(side, "yes", "no")] for side in SIDES}
        self.proposals = propose(workspace, known, count, self._policy.privacy)
        self._open = {one.row.id: one for one in self.proposals.proposals}
        self._documents = {one.id: one for one in load_corpus(workspace.data / "corpus")}

    def load(self) -> dict[str, Any]:
        rows = [{**one.row.as_dict(), **one.facts, "passage": one.evidence} for one in self._open.values()]
        return {"rows": rows, "standing": self.standing()}

    def decide(self, decision: Decision) -> list[str]:
        """Keep a decision, or raise if its row would break a rule of the data."""
        if not (proposal := self._open.get(decision.id)):
            raise SluiceError("the page shows rows of an earlier start", remedy="reload it")
        row = proposal.row
        if decision.verdict == "yes":
            row = _as_read(proposal, decision.question.strip(), decision.answer.strip())
            placed = [LocatedRecord(row, self._file, 1)]
            if faults := [*check_rows(placed, self._documents), *check_rows_privacy(placed, self._policy.privacy)]:
                raise SluiceError("; ".join(fault.what for fault in faults))
        self._decided[row.id] = {"verdict": decision.verdict, "side": proposal.facts["side"], "row": row.as_dict()}
        write_jsonl(self._file, self._decided.values())
        return self.standing()

    def add(self) -> list[str]:
        """Add the rows that were taken to data/ and return the standing."""
        for side in SIDES:
            held = {row.id for row in self._in_data(side)}
            if rows := [row for row in self._of(side, "yes") if row.id not in held]:
                write_rows(path := self._file.with_name(f"{side}.jsonl"), rows)
                accept(path, side, self._workspace.data, self._policy)
        return self.standing()

    def standing(self) -> list[str]:
        """Say how many rows are in data/ or taken, what is still needed, and what they can't detect."""
        lines = []
        for side in SIDES:
            rows = list({row.id: row for row in (*self._in_data(side), *self._of(side, "yes"))}.values())
            lines.append(f"{side}: {len(rows)} rows, {sum(not row.answerable for row in rows)} without an answer")
        gates = self._workspace.config / "gates.yaml"  # of eval, the last side
        try:
            require_rows(rows, gates)
        except ValidationErrors as error:
            lines += error.faults
        return lines + detection(rows, gates)

    def _in_data(self, side: str) -> list[Row]:
        path = self._workspace.data / f"{side}.jsonl"
        return load_rows(path) if path.is_file() else []

    def _of(self, side: str, *verdicts: str) -> list[Row]:
        of = (one for one in self._decided.values() if one["side"] == side and one["verdict"] in verdicts)
        return [Row.model_validate(one["row"]) for one in of]


def _as_read(proposal: Proposal, question: str, answer: str) -> Row:
    """Return the row with the texts of the person, and that they accepted or edited it."""
    row, document = proposal.row, str(proposal.facts["document"])
    said: dict[str, Any] = {"question": question, "answers": (answer,) if answer else ()}
    if bool(answer) != row.answerable:
        said |= {"doc_ids": (document,) if answer else (), "tags": () if answer else ("unanswered",)}
    read = row.model_copy(update=said)
    review = "accepted" if read == row else "edited"
    return read.model_copy(
        update={"provenance": row.provenance and row.provenance.model_copy(update={"review": review})}
    )


def review_page(review: Review) -> Any:
    """Return the application of the page. Only this machine may use it."""
    api = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    style = resources.files("sluice.core.html_theme").joinpath("house.css").read_text(encoding="utf-8")
    page = resources.files(__package__).joinpath("review.html").read_text(encoding="utf-8")
    html = page.replace("/* house.css */", style)

    @api.exception_handler(SluiceError)
    async def refused(_: Request, error: SluiceError) -> Response:
        return error_response(400, str(error))

    @api.get("/")
    async def index() -> Response:
        return Response(html, media_type="text/html", headers=page_headers(html))

    @api.get("/rows")
    async def rows() -> Response:
        return JSONResponse(review.load())

    @api.post("/decide")
    async def decide(decision: Decision) -> Response:
        return JSONResponse(review.decide(decision))

    @api.post("/add")
    async def add() -> Response:
        return JSONResponse(review.add())

    return LoopbackMiddleware(api)
