import asyncio
from pathlib import Path

import numpy as np
import pytest

from sluice.core.atomic_files import read_jsonl
from sluice.evaluation.registry import MetricBatcher
from sluice.extras import language
from sluice.extras.language.grounding import find_evidence
from sluice.extras.language.metrics import Groundedness
from sluice.retrieval.embedder import Embedder

PAGE = Path(__file__).resolve().parents[5] / "engine/docs/reference/metrics.md"
PASSAGE = (
    "The migration job takes a lock before it writes. The lock expires after 30 seconds. "
    "Results are kept for seven days, and nobody may change them. It does not wait for slow replicas."
)


@pytest.mark.parametrize(
    ("claim", "share"),
    [
        ("30 seconds", 1.0),
        ("wait for slow replicas", 1.0),  # a copied span, although its sentence is negated
        ("After 30 seconds, the lock expired.", 1.0),  # stems, order
        ("Results are kept for 7 days.", 1.0),  # "seven" is 7
        ("The lock expires after 31 seconds.", 0.0),  # another number
        ("The lock never expires after 30 seconds.", 0.0),  # negated
        ("The lock is released after 30 seconds.", 0.75),
        ("Redis holds the cluster.", 0.0),
        ("It is what it is.", 0.0),  # nothing that could be found
        ("!?", 0.0),
    ],
)
def test_evidence_by_words(claim: str, share: float) -> None:
    assert find_evidence(claim, [PASSAGE]).share == pytest.approx(share)


def test_evidence_is_the_best_sentence_of_all_passages() -> None:
    found = find_evidence("The lock is released after 30 seconds.", ["Nothing here.", PASSAGE])
    assert found.sentence == "The lock expires after 30 seconds."
    assert find_evidence("30 seconds", []) == ("", 0.0)


def vectors(cosine: float) -> tuple[MetricBatcher, list[str]]:
    asked: list[str] = []

    def embed(texts: list[str]) -> np.ndarray:
        asked.extend(texts)
        angle = np.arccos(cosine) * np.arange(len(texts))
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)

    return MetricBatcher(embed), asked


@pytest.mark.parametrize(
    ("text", "cosine", "score", "embedded"),
    [
        ("30 seconds", 0.0, 1.0, 0),
        ("The lock expires after 30 seconds. Redis holds the cluster.", 1.0, 0.5, 0),
        ("The lock is released after 30 seconds.", 0.9, 1.0, 2),
        ("The lock is released after 30 seconds.", 0.5, 0.0, 2),
        ("", 1.0, None, 0),
        (" ?! ", 1.0, None, 0),
    ],
)
def test_embeddings_are_asked_only_where_the_words_leave_it_open(row, output, text, cosine, score, embedded) -> None:
    batched, asked = vectors(cosine)
    found = asyncio.run(Groundedness(batched).score(row("x"), output(text, passages=(PASSAGE,))))
    assert found == score
    assert len(asked) == embedded


def test_without_passages_nothing_is_supported_and_declines_do_not_count(row, output) -> None:
    metric = Groundedness(vectors(1.0)[0])
    assert asyncio.run(metric.score(row("x"), output("30 seconds"))) == 0.0
    declined = output("The handbook does not say.", declined=True, passages=(PASSAGE,))
    assert asyncio.run(metric.score(row("x"), declined)) is None


@pytest.mark.real
def test_agreement_with_people_is_what_the_page_says(models) -> None:
    from sklearn.metrics import cohen_kappa_score

    cases = read_jsonl(Path(language.__file__).parent / "calibration/groundedness.jsonl")
    page = PAGE.read_text()

    async def judge(metric: Groundedness) -> list[bool]:
        return await asyncio.gather(*(metric.supported(case["sentence"], (case["passage"],)) for case in cases))

    with Embedder(models.embed) as embedder:
        found = asyncio.run(judge(Groundedness(MetricBatcher(embedder.embed))))
    for split, share in (("tuned", 0.9), ("held out", 0.7)):
        pairs = [(case["supported"], held) for case, held in zip(cases, found, strict=True) if case["split"] == split]
        raw, kappa = np.mean([one == other for one, other in pairs]), cohen_kappa_score(*zip(*pairs, strict=True))
        assert raw >= share
        assert f"| {split} | {len(pairs)} | {raw:.2f} | {kappa:.2f} |" in page
