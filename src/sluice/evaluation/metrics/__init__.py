"""Every metric by name: one file and one line each."""

from sluice.evaluation.metrics.citation_correctness import CitationCorrectness
from sluice.evaluation.metrics.contains_answer import ContainsAnswer
from sluice.evaluation.metrics.decline_accuracy import DeclineAccuracy
from sluice.evaluation.metrics.exact_match import ExactMatch
from sluice.evaluation.metrics.f1 import F1
from sluice.evaluation.metrics.latency import Latency
from sluice.evaluation.metrics.mrr import ReciprocalRank
from sluice.evaluation.metrics.recall_at_5 import RecallAt5
from sluice.evaluation.metrics.tokens import Tokens
from sluice.evaluation.metrics.ttft import TimeToFirstToken
from sluice.evaluation.output import Metric

METRICS: tuple[Metric, ...] = (
    ExactMatch(),
    F1(),
    ContainsAnswer(),
    DeclineAccuracy(),
    RecallAt5(),
    ReciprocalRank(),
    CitationCorrectness(),
    Latency("p50"),
    Latency("p95"),
    TimeToFirstToken(),
    Tokens(),
)
