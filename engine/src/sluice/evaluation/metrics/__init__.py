"""Every metric by name: one file and one line each.

`METRICS` need nothing but a case. `EMBEDDING` are made with the vectors of a run, and the judge with its provider:
`sluice.evaluation.instruments.open_metrics` gives all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sluice.evaluation.batching import Batched
from sluice.evaluation.metrics.answer_similarity import AnswerSimilarity
from sluice.evaluation.metrics.answer_words import AnswerWords
from sluice.evaluation.metrics.citation_correctness import CitationCorrectness
from sluice.evaluation.metrics.contains import Contains
from sluice.evaluation.metrics.contains_answer import ContainsAnswer
from sluice.evaluation.metrics.cost import Cost
from sluice.evaluation.metrics.decline_accuracy import DeclineAccuracy
from sluice.evaluation.metrics.exact_match import ExactMatch
from sluice.evaluation.metrics.f1 import F1
from sluice.evaluation.metrics.false_declines import FalseDeclines
from sluice.evaluation.metrics.groundedness import Groundedness
from sluice.evaluation.metrics.json_schema import JsonSchema
from sluice.evaluation.metrics.language import Language
from sluice.evaluation.metrics.latency import Latency
from sluice.evaluation.metrics.mrr import ReciprocalRank
from sluice.evaluation.metrics.ndcg_at_5 import NdcgAt5
from sluice.evaluation.metrics.not_contains import NotContains
from sluice.evaluation.metrics.recall_at_5 import RecallAt5
from sluice.evaluation.metrics.regex import Regex
from sluice.evaluation.metrics.same_language import SameLanguage
from sluice.evaluation.metrics.tokens import Tokens
from sluice.evaluation.metrics.toxicity import Toxicity
from sluice.evaluation.metrics.ttft import TimeToFirstToken
from sluice.evaluation.output import Metric

if TYPE_CHECKING:
    from sluice.retrieval.embedder import Vectors

METRICS: tuple[Metric, ...] = (
    ExactMatch(),
    F1(),
    ContainsAnswer(),
    DeclineAccuracy(),
    FalseDeclines(),
    RecallAt5(),
    ReciprocalRank(),
    NdcgAt5(),
    CitationCorrectness(),
    Contains(),
    NotContains(),
    Regex(),
    JsonSchema(),
    Toxicity(),
    Language(),
    SameLanguage(),
    AnswerWords(),
    Latency("p50"),
    Latency("p95"),
    TimeToFirstToken(),
    Tokens(),
    Cost(),
)
EMBEDDING: tuple[Callable[[Batched[Vectors]], Metric], ...] = (
    AnswerSimilarity,
    Groundedness,
)
