"""What decides about a release: gates over its own figures, and the comparison with the champion's answers.

The comparison is that of a pull request (`sluice eval`) and of the canary, with the same numbers under `comparison:` in
config/gates.yaml: a change that is called not worse there is not refused here.
"""

from __future__ import annotations

from pathlib import Path

from sluice.core.atomic_files import read_json, read_jsonl
from sluice.evaluation.comparison import Comparison, compare
from sluice.evaluation.comparison_policy import load_policy
from sluice.evaluation.summary import measures_of
from sluice.release.evaluation_measurements import figures, reference
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
        SluiceError: a file cannot be read, the champion was asked other cases, or the policy names a metric that the
            evaluation does not have.
    """
    verdicts = decide(load_gates(gates), "evaluation", figures(evaluation), reference(evaluation, champion))
    return [*verdicts, *verdicts_of(compare_results(gates, evaluation, champion / "cases.jsonl"), "comparison")]


def compare_results(gates: Path, evaluation: Path, champion: Path) -> Comparison:
    """Compares stored records. `champion`: the champion's cases.jsonl; the rest as for `decide_release`, and the
    candidate's summary says what its metrics are."""
    summary = evaluation / "summary.json"
    measures = measures_of(read_json(summary), summary)
    return compare(read_jsonl(champion), read_jsonl(evaluation / "cases.jsonl"), measures, load_policy(gates))
