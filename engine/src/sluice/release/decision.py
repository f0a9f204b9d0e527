"""What decides about a release: gates over its own figures, and the comparison with the champion's answers.

The comparison is that of a pull request (`sluice eval`) and of the canary, with the same numbers under `comparison:` in
config/gates.yaml: who was called not worse there is not refused here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sluice.core.files import read_json, read_jsonl
from sluice.evaluation.comparison import Comparison, compare
from sluice.evaluation.pairs import Record
from sluice.evaluation.policy import ComparisonPolicy, load_policy
from sluice.evaluation.summary import measures_of
from sluice.release.figures import figures, reference
from sluice.release.gates import decide, load_gates
from sluice.release.verdict import Verdict
from sluice.release.verdicts import verdicts_of


def decide_release(gates: Path, evaluation: Path, champion: Path) -> list[Verdict]:
    """All verdicts about a candidate: those of the gates of stage evaluation, then those of the comparison.

    Args:
        gates: config/gates.yaml.
        evaluation: folder with the candidate's summary.json and cases.jsonl.
        champion: the same of the champion, on the same cases.

    Raises:
        SluiceError: a file cannot be read, or the champion was asked other cases.
        Faults: the policy names a metric that the evaluation does not have.
    """
    verdicts = decide(load_gates(gates), "evaluation", figures(evaluation), reference(evaluation, champion))
    summary, theirs, mine = (
        read_json(evaluation / "summary.json"),
        read_jsonl(champion / "cases.jsonl"),
        read_jsonl(evaluation / "cases.jsonl"),
    )
    found = compare_results(summary, theirs, mine, load_policy(gates), place=evaluation / "summary.json")
    return [*verdicts, *verdicts_of(found, "comparison")]


def compare_results(
    summary: Mapping[str, Any],
    champion: Sequence[Record],
    candidate: Sequence[Record],
    policy: ComparisonPolicy,
    *,
    place: Path,
) -> Comparison:
    """Compares stored records of the champion with those of the candidate.

    Args:
        summary: the candidate's, which says what its metrics are.
        champion: the champion's records.
        candidate: the candidate's records of the same cases.
        policy: the part `comparison:` of config/gates.yaml.
        place: where the summary was read, for errors.
    """
    return compare(champion, candidate, measures_of(summary, place), policy)
