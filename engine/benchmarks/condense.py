"""What condensing a conversation does to the search, with the local model: 14 follow-up questions on the starter data.

    .venv/bin/python engine/benchmarks/condense.py                      # the index and the adapter in build/
    .venv/bin/python engine/benchmarks/condense.py .sluice/releases/ID  # those of a release

For each question: whether its document is among the retrieved passages and near enough to be answered from, when the
search is for the last question alone, for the condensed one, and for the earlier question and the last one joined.
Joined questions are tried with questions about other things too, which must stay below `retrieval.min_similarity`.
What follows from it: engine/docs/decisions/condense-is-off.md.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import sys
import tempfile
import time
from pathlib import Path

from sluice.core.settings import load_settings
from sluice.core.workspace import Workspace
from sluice.retrieval.stores import Stores
from sluice.serving.release_parts import ReleaseBundle, draft_bundle
from sluice.serving.request_state import RequestState, enter_request
from sluice.serving.runtime import Runtime, open_runtime

CASES = (  # document of the last question, an earlier question, its answer, the last question
    (
        "deployment-canary",
        "With what share of traffic does a canary begin?",
        "5 percent",
        "How long is each step of it?",
    ),
    ("deployment-canary", "Which quality signal of a canary is the earliest?", "decline rate", "Why that one?"),
    (
        "cost-caching",
        "What threshold should a semantic cache start with?",
        "0.95",
        "Below which hit rate is it useless?",
    ),
    ("vectordb-hnsw", "What does HNSW set M to?", "16", "Can I change that without rebuilding?"),
    ("vectordb-hnsw", "Which layer of HNSW holds every vector?", "bottom layer", "What happens there to deleted ones?"),
    ("deployment-rollback", "How often are rollbacks rehearsed?", "every month", "Who may start one without asking?"),
    (
        "evaluation-judges",
        "How many criteria may a rubric have?",
        "five",
        "What if it contradicts itself when swapped?",
    ),
    ("finetuning-learning-rate", "At which rate does full fine-tuning start?", "2e-5", "And warmup for short runs?"),
    (
        "incidents-post-mortems",
        "How soon is a post-mortem written?",
        "five working days",
        "How long does its meeting take?",
    ),
    ("guardrails-output-checks", "How is streamed text checked?", "holdback buffer", "What about links in it?"),
    ("retrieval-reranking", "How many candidates are reranked?", "40 candidates", "What happens when it is too slow?"),
    ("data-privacy", "Which keyed hash replaces user ids?", "HMAC", "How often is its key rotated?"),
    (
        "deployment-rollback",
        "With what share does a canary begin?",
        "5 percent",
        "How fast must a rollback be completed?",
    ),
    (
        "monitoring-drift",
        "How many panels may the dashboard hold?",
        "eight",
        "Above which stability index is it drift?",
    ),
)
ELSEWHERE = (
    "What is the capital city of New Zealand?",
    "Is it going to rain in Lisbon this weekend?",
    "How do I mend a flat tyre on my bicycle?",
    "Should I take ibuprofen for a headache after lunch?",
    "How long should I boil eggs so that the yolk stays soft?",
)
WAYS = ("last question", "condensed", "joined")


async def measure(runtime: Runtime, bundle: ReleaseBundle) -> str:
    """A row of the table, and the condensed questions on standard error."""
    conversation = runtime.application.services.conversation()
    service, retrieval = bundle.service, bundle.service.retrieval

    async def near(query: str, document: str | None) -> bool:
        hits = await asyncio.to_thread(runtime.application.services.retriever.search.search, query, k=retrieval.k)
        found = document is None or any(hit.doc_id == document for hit in hits)
        return found and max(hit.similarity for hit in hits) >= retrieval.min_similarity

    found = dict.fromkeys(WAYS, 0)
    seconds = []
    far = 0
    for number, (document, before, reply, question) in enumerate(CASES):
        earlier = [{"role": "user", "content": before}, {"role": "assistant", "content": reply}]
        began = time.perf_counter()
        messages = [*earlier, {"role": "user", "content": question}]
        request = RequestState(messages, None, decline=service.decline, seconds=service.llm.timeout_seconds)
        request.question = question
        enter_request(request)
        condensed = await conversation.question()
        seconds.append(time.perf_counter() - began)
        print(f"{question} -> {condensed}", file=sys.stderr)
        for way, query in zip(WAYS, (question, condensed, f"{before} {question}"), strict=True):
            found[way] += await near(query, document)
        far += await near(f"{before} {ELSEWHERE[number % len(ELSEWHERE)]}", None)
    shares = " | ".join(f"{found[way]} of {len(CASES)}" for way in WAYS)
    return f"{shares} | {sorted(seconds)[len(seconds) // 2]:.1f} s | {far} of {len(CASES)}"


def main(release: Path | None) -> int:
    workspace = Workspace.find(Path(__file__).parent)
    stores = load_settings(workspace.config / "stores.yaml", Stores)
    index = (release or workspace.build) / "index"
    adapter = release / "adapter.gguf" if release else workspace.build / "adapter" / "adapter.gguf"
    rows = []
    for name, used in (("base model", None), ("with adapter", adapter)):
        bundle = dataclasses.replace(draft_bundle(workspace, adapter=used), index=index)
        if bundle.service.condense is None:
            raise SystemExit("config/service.yaml has no condense")
        condense = bundle.service.condense.model_copy(update={"enabled": True})
        bundle = dataclasses.replace(bundle, service=bundle.service.model_copy(update={"condense": condense}))
        with tempfile.TemporaryDirectory() as state, open_runtime(bundle, stores, Path(state)) as runtime:
            rows.append(f"| {name} | {asyncio.run(measure(runtime, bundle))} |")
    print(f"| model | {' | '.join(WAYS)} | median time to condense | joined, about something else, let through |")
    print("|---|---|---|---|---|---|", *rows, sep="\n")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", type=Path, nargs="?", help="folder of a release; default: what is in build/")
    sys.exit(main(parser.parse_args().release))
