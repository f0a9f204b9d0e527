"""Second turns: 40 about something else, which must be declined, and 20 about the handbook, which must be answered.

    .venv/bin/python engine/benchmarks/second_turns.py    # a minute; needs build/index of the starter data

No model is asked: a question counts as declined unless the application shows its model passages. Prints the questions
that go wrong. Fails below 9 of 10 off-topic questions declined, or 9 of 10 genuine ones whose document is found.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path

from text_search import LOCAL

from sluice.core.workspace import Workspace
from sluice.extend import Answer, Delta, Messages, ModelParameters, Usage, testing
from sluice.retrieval.embedder import Embedder
from sluice.retrieval.retriever import open_retriever
from sluice.serving.release_parts import draft_bundle

FIRST = (  # a question, its answer
    (
        "How much overlap should chunks have?",
        "Neighbouring chunks share 64 tokens, so that a sentence at a border is whole in one of them.",
    ),
    (
        "What share of traffic does a canary start with?",
        "The handbook opens a canary at 5 percent of traffic.",
    ),
    (
        "How many people may act as incident commander?",
        "The incident commander decides and coordinates but does not type commands.",
    ),
    (
        "What is QLoRA?",
        "QLoRA trains low-rank matrices on top of a base model whose weights are stored in four bits.",
    ),
    (
        "When does an alert page somebody?",
        "A page is an alert that wakes somebody, so it must demand action within minutes.",
    ),
    (
        "How often do we take a snapshot of the vector store?",
        "The handbook takes a snapshot every night.",
    ),
    (
        "What does a dead man's switch do?",
        "A dead man's switch fires when the monitoring falls silent.",
    ),
    (
        "Why not average percentiles of several machines?",
        "The average of two percentiles is not a percentile of anything.",
    ),
    (
        "How many few-shot examples should a prompt have?",
        "The handbook's default is three examples.",
    ),
    (
        "What is the soft limit of a budget?",
        "The soft limit at 80 percent of the monthly amount only notifies the owner.",
    ),
)
OFF_TOPIC = (  # the number of the first turn, the second question
    (0, "What is the capital of France?"),
    (1, "What time is it?"),
    (2, "How do I get red wine out of a carpet?"),
    (3, "Who painted the Mona Lisa?"),
    (4, "Is it going to rain in Hamburg tomorrow?"),
    (5, "And what should I cook tonight?"),
    (6, "Tell me a joke about penguins"),
    (7, "How many players are on a volleyball team?"),
    (8, "best beaches in Portugal"),
    (9, "Thanks! Which train goes to Vienna?"),
    (0, "Can dogs eat grapes?"),
    (1, "When did the Berlin wall come down?"),
    (2, "What's the square root of 1764?"),
    (3, "How long should I boil an egg?"),
    (4, "Please translate good night into Spanish"),
    (5, "Which vaccine do I need for Kenya?"),
    (6, "Should I buy shares of a bank now?"),
    (7, "Why is the sky blue?"),
    (8, "Could you recommend a good crime novel?"),
    (9, "how do plants make sugar from light"),
    (1, "What is the tallest mountain in Africa?"),
    (0, "How do I change a flat tyre on my bike?"),
    (4, "who won the world cup in 2014"),
    (3, "Is there life on Mars?"),
    (2, "And how is the weather in Oslo?"),
    (6, "Write a poem about autumn"),
    (5, "How much sleep does a baby need?"),
    (8, "My knee hurts when I run, should I see a doctor?"),
    (7, "When is the next solar eclipse?"),
    (9, "cheap flights to Lisbon in May"),
    (0, "Which language do people speak in Brazil?"),
    (2, "What does a plumber earn per hour?"),
    (1, "Okay, and who is the king of Spain?"),
    (3, "How long does it take to learn the piano?"),
    (4, "Can I keep tomatoes in the fridge?"),
    (5, "Why do cats purr?"),
    (6, "What is seventeen times twenty-three?"),
    (7, "Which wine goes with grilled salmon?"),
    (8, "How far is the moon from the earth?"),
    (9, "Do I need a visa for Japan?"),
)
GENUINE = (  # and the document that answers
    (0, "why so much?", "retrieval-chunking"),
    (1, "And how long does each step last?", "deployment-canary"),
    (2, "Who keeps the timeline then?", "incidents-roles"),
    (2, "for how many hours may one person do that?", "incidents-roles"),
    (3, "Which number format does it use?", "finetuning-quantisation"),
    (3, "How many calibration samples does post-training quantisation need?", "finetuning-quantisation"),
    (4, "and what happens to one that nobody acts on?", "monitoring-alerts"),
    (4, "How does a burn rate alert work?", "monitoring-alerts"),
    (5, "How many of them are kept?", "vectordb-backups"),
    (5, "Why under a separate account?", "vectordb-backups"),
    (6, "And where must it run?", "monitoring-alerts"),
    (7, "what should I do instead?", "loadtesting-percentiles"),
    (7, "What is coordinated omission?", "loadtesting-percentiles"),
    (8, "which kinds should I pick?", "prompts-examples"),
    (8, "Where do the pairs come from?", "prompts-examples"),
    (9, "and the hard one?", "cost-budgets"),
    (9, "How many model calls may an agent make per task?", "cost-budgets"),
    (1, "How long does blue-green keep the former colour running?", "deployment-blue-green"),
    (0, "Who settles disagreements between two annotators?", "data-labelling"),
    (6, "How many times should each red team attack be repeated?", "guardrails-red-teaming"),
)


class ScriptedModel:
    """A model that counts how often it was shown passages."""

    def __init__(self) -> None:
        self.answers = 0

    async def stream(
        self,
        messages: Messages,
        parameters: ModelParameters,  # noqa: ARG002 - the protocol's
        *,
        deadline: float,  # noqa: ARG002 - the protocol's
    ) -> AsyncGenerator[Delta, None]:
        self.answers += "(no passages)" not in messages[-1]["content"]  # of prompts/welcome.prompt.yml
        yield Delta("-")
        yield Delta(finish_reason="stop", usage=Usage(1, 1), provider="local", model="none")


def main() -> int:
    bundle = draft_bundle(Workspace.find(Path(__file__).parent), adapter=None)
    declined = found = 0
    with (
        tempfile.TemporaryDirectory(prefix="st") as state,
        Embedder(bundle.embedder) as embedder,
        open_retriever(bundle.index, embedder, LOCAL, Path(state)) as retriever,
    ):

        def ask(turn: int, question: str) -> tuple[bool, Answer]:
            chat = ScriptedModel()
            said = zip(("user", "assistant", "user"), (*FIRST[turn], question), strict=True)
            runner = testing.run_application(chat, retriever, bundle=bundle)  # type: ignore[arg-type]
            answer = asyncio.run(runner.answer([{"role": role, "content": text} for role, text in said]))
            return not chat.answers, answer

        for turn, question in OFF_TOPIC:
            without, _ = ask(turn, question)
            declined += without
            if not without:
                print(f"answered: {question}")
        for turn, question, document in GENUINE:
            without, answer = ask(turn, question)
            right = not without and document in {hit.doc_id for hit in answer.hits}
            found += right
            if not right:
                print(f"{'declined' if without else 'not found'}: {question}")
    print(f"off-topic declined {declined} of {len(OFF_TOPIC)}, genuine answered {found} of {len(GENUINE)}")
    return int(declined < 0.9 * len(OFF_TOPIC) or found < 0.9 * len(GENUINE))


if __name__ == "__main__":
    sys.exit(main())
