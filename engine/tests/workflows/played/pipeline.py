"""The pipeline without DVC and without a model. A trained one answers right unless the prompt says SPOILED."""

import argparse
import asyncio
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sluice.core.atomic_files import write_atomic, write_json
from sluice.core.digests import digest_of, digest_of_file
from sluice.core.extras import extras, load
from sluice.core.params import load_params
from sluice.core.workspace import Workspace
from sluice.data.contract import data_digest
from sluice.data.rows import Row, load_corpus, load_rows
from sluice.evaluation.asked_rows import rows_of
from sluice.evaluation.registry import MetricBatcher, MetricResources, Output, make_metrics
from sluice.evaluation.replay import RecordedChat
from sluice.evaluation.response_cache import FOLDER, ResponseCache, asking
from sluice.evaluation.runner import run_cases
from sluice.evaluation.summary import summarise, write_results
from sluice.jobs.dvc_pipeline import Evaluator
from sluice.llm.model_files import Models, load_models
from sluice.llm.resilience import open_chat
from sluice.llm.settings import Providers, load_providers, needs_local
from sluice.prompts import load_prompts
from sluice.retrieval.embedder import TokenStates
from sluice.retrieval.index_files import build_index
from sluice.retrieval.index_stage import IndexParameters
from support.guardrails import place_guard_model


class HashedVectors:
    def embed(self, texts: list[str]) -> Any:
        digests = b"".join(hashlib.sha256(text.encode()).digest() * 12 for text in texts)
        vectors = np.frombuffer(digests, np.uint8).reshape(len(texts), -1).astype(np.float32) + 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def token_states(self, texts: list[str]) -> list[TokenStates]:
        words = [text.lower().split() or [""] for text in texts]
        return [TokenStates(some, range(len(some)), self.embed(some)) for some in words]


class RuleApplication:
    def __init__(self, *, spoiled: bool) -> None:
        self._spoiled = spoiled

    async def ask(self, row: Row, *, trial: int) -> Output:  # noqa: ARG002
        declined = not row.answerable and not self._spoiled
        text = "The handbook does not say." if declined else "of it" if self._spoiled else row.answers[0]
        return Output(
            text=text,
            declined=declined,
            retrieved=row.doc_ids or ("none",),
            citations=() if declined else row.doc_ids,
            latency_ms=100.0,
            ttft_ms=20.0,
            prompt_tokens=100,
            completion_tokens=len(text.split()),
        )


class HostedApplication:
    def __init__(self, workspace: Workspace, providers: Providers, *, replay: bool) -> None:
        cache = ResponseCache(workspace.state / FOLDER)
        connect = partial(open_chat, providers.chat, local_url=None)
        self._chat = RecordedChat(cache, providers.chat, connect, replay=replay)
        self._prompt = load_prompts(workspace.prompts)["answer"]

    async def ask(self, row: Row, *, trial: int) -> Output:
        with asking(trial) as record:
            messages = self._prompt.render(passages="", question=row.question, decline="no")
            deadline = asyncio.get_running_loop().time() + 600
            stream = self._chat.stream(messages, self._prompt.parameters, deadline=deadline)
            text = "".join([delta.text async for delta in stream])
        return Output(
            text=text,
            declined=False,
            retrieved=row.doc_ids or ("none",),
            citations=row.doc_ids,
            latency_ms=100.0,
            ttft_ms=20.0,
            prompt_tokens=100,
            completion_tokens=len(text.split()),
            recorded=record.recorded,
        )


def pull(workspace: Workspace) -> bool:
    if workspace.data.is_dir():
        return False
    store = workspace.root / "dvc-store" / "files" / "md5"
    named = yaml.safe_load((workspace.root / "data.dvc").read_text())["outs"][0]["md5"]
    for entry in json.loads((store / named[:2] / named[2:]).read_text()):
        target = workspace.data / entry["relpath"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(store / entry["md5"][:2] / entry["md5"][2:], target)
    return True


def data_edited(workspace: Workspace) -> bool:  # noqa: ARG001
    return False


def reproduce(workspace: Workspace, journey: Any, *, until: str = "evaluate") -> None:
    for stage in (check, index, guard, train, evaluate):
        journey.begin(stage.__name__)
        if stage is evaluate:
            evaluate(workspace, journey)
        else:
            stage(workspace)
        journey.end()
        if stage.__name__ == until:
            return


def check(workspace: Workspace) -> None:
    write_json(workspace.build / "check" / "report.json", {"digest": data_digest(workspace.data), "faults": []})


def index(workspace: Workspace) -> None:
    spec = load_models(workspace.config / "models.yaml").embed
    chunker = load_params(workspace.params, "index", IndexParameters).chunker
    documents = load_corpus(workspace.data / "corpus")
    build_index(documents, HashedVectors(), spec, chunker, workspace.build / "index")  # type: ignore[arg-type]


def guard(workspace: Workspace) -> None:
    place_guard_model(workspace, load_models(workspace.config / "models.yaml").embed.sha256)


def train(workspace: Workspace) -> None:
    settings = load("finetune", extras()["finetune"].parameters["train"])
    parameters = load_params(workspace.params, "train", settings).model_dump(mode="json")
    rows = load_rows(workspace.data / "train.jsonl")
    prompt = (workspace.prompts / "finetune.prompt.yml").read_text()
    index_digest = digest_of_file(workspace.build / "index" / "index.json")
    made_of = digest_of([parameters, prompt, index_digest, [row.as_dict() for row in rows]])
    out = workspace.build / "adapter"
    loss = [[1, 3.5], [2, 2.5], [3, 1.5]]
    record = {
        "base_sha256": load_models(workspace.config / "models.yaml").chat.sha256,
        "data_digest": digest_of([row.as_dict() for row in rows]),
        "parameters": parameters,
        "seconds": 1.0,
        "tokens_per_second": 1.0,
        "tokens": 1,
        "answers": len(rows),
        "loss": loss,
        "samples": len(rows),
        "skipped": 0,
        "peak_memory_bytes": 1,
    }
    write_json(out / "training.json", record)
    write_atomic(out / "loss.csv", "step,loss\n" + "".join(f"{step},{value}\n" for step, value in loss))
    write_atomic(out / "adapter.gguf", f"GGUF {made_of}\n")


def evaluate(workspace: Workspace, journey: Any, *words: str) -> None:  # noqa: ARG001
    options = argparse.ArgumentParser()
    options.add_argument("--out", type=Path, default=workspace.build / "evaluation")
    options.add_argument("--against")
    options.add_argument("--baseline", action="store_true")
    chosen = options.parse_args(words)
    side = "untrained" if chosen.baseline else "candidate"
    if chosen.against:
        compare(workspace, side, workspace.releases / chosen.against, chosen.out)
        return
    answer(workspace, rows_of(workspace), side, chosen.out)


def ask(evaluator: Evaluator, asked: Path, journey: Any) -> None:  # noqa: ARG001
    replay = "--replay" in evaluator._options
    answer(evaluator._workspace, load_rows(asked), "candidate", asked.parent, replay=replay)


def answer(workspace: Workspace, rows: list[Row], side: str, out: Path, *, replay: bool = False) -> None:
    with opened(workspace, side, replay=replay) as (ask, metrics):
        cases = ask(rows)
    write_results(out, summarise(rows, cases, metrics) | {"recorded": 0}, cases)


@contextmanager
def opened(workspace: Workspace, side: str, *, replay: bool = False) -> Iterator[tuple[Any, Any]]:
    spoiled = side == "candidate" and "SPOILED" in (workspace.prompts / "answer.prompt.yml").read_text()
    application: Any = RuleApplication(spoiled=spoiled or side == "untrained")
    providers = load_providers(workspace.config / "providers.yaml", roles=Models.roles())
    if not needs_local(providers.chat):
        application = HostedApplication(workspace, providers, replay=replay)
    metrics = make_metrics(MetricResources(MetricBatcher(HashedVectors().embed)))

    def ask(rows: Sequence[Row], on_progress: Any = lambda *_: None) -> Any:
        return asyncio.run(run_cases(rows, application, metrics, concurrency=8, on_progress=on_progress))

    yield ask, metrics


def compare(workspace: Workspace, side: str, live: Path, out: Path) -> None:
    from sluice.jobs import evaluate_candidate

    evaluate_candidate.open_evaluation = opened  # type: ignore[assignment]
    evaluate_candidate.open_bundle = lambda *_: "live"  # type: ignore[assignment, return-value]
    evaluate_candidate.model_digest = evaluate_candidate.scores_digest = lambda *_: "played"  # type: ignore[assignment]
    evaluate_candidate.record_evaluation = lambda *_: None  # type: ignore[assignment]
    evaluate_candidate.run(workspace, side, live, out)  # type: ignore[arg-type]
