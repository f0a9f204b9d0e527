"""junit.xml: the comparison for tools that read test results.

A case that broke is a failure. A case without a result is an error and not skipped, because most tools count a skipped
test as passed. Only an informational metric that could not be judged is skipped.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import TypeAlias

from sluice.evaluation.comparison_result import CaseChange, Comparison, MetricComparison
from sluice.evaluation.reports import phrasing
from sluice.evaluation.reports.phrasing import printable

_Test: TypeAlias = tuple[str, str, str, str]  # name, outcome, verdict, story
_CASES = {"broken": "failure"} | dict.fromkeys(("failed", "not evaluated", "not compared", "error"), "error")


def junit(comparison: Comparison) -> bytes:
    """Three suites: the verdict, the metrics, the cases. UTF-8."""
    text = "\n".join([phrasing.sentence(comparison), *filter(None, [comparison.stopped]), *comparison.reasons])
    outcome = {"worse": "failure", "improved": "", "no difference seen": ""}.get(comparison.verdict, "error")
    suites: dict[str, list[_Test]] = {
        "verdict": [("verdict", outcome, comparison.verdict, text)],
        "metrics": [(one.name, _of_metric(one), one.verdict, _figures(one)) for one in comparison.metrics],
        "cases": [(one.id, _CASES.get(one.status, ""), one.status, _story(one)) for one in comparison.cases],
    }
    root = ET.Element("testsuites", _counts([test for tests in suites.values() for test in tests], "sluice comparison"))
    del root.attrib["skipped"]  # readers know it of a suite only
    for name, tests in suites.items():
        suite = ET.SubElement(root, "testsuite", _counts(tests, name), time="0")
        group = "comparison" if name == "verdict" else f"comparison.{name}"
        for test, outcome, verdict, story in tests:
            case = ET.SubElement(suite, "testcase", classname=group, name=_legal(test), time="0")
            if outcome:
                found = ET.SubElement(case, outcome, message=verdict)
                if outcome != "skipped":
                    found.text = _legal(story)
                    found.set("type", verdict.replace(" ", "_"))
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _counts(tests: Sequence[_Test], name: str) -> dict[str, str]:
    outcomes = [outcome for _, outcome, _, _ in tests]
    counts = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    return {"name": name, "tests": str(len(tests)), **{key: str(outcomes.count(tag)) for key, tag in counts.items()}}


def _of_metric(metric: MetricComparison) -> str:
    if metric.errors:
        return "error"
    if metric.verdict == "too few cases":
        return "error" if metric.decides == "always" else "skipped"
    return "failure" if metric.verdict == "worse" and metric.decides != "never" else ""


def _figures(metric: MetricComparison) -> str:
    judgement = metric.judgement
    base, head = phrasing.figure(judgement.base, metric.unit), phrasing.figure(judgement.head, metric.unit)
    return f"{base} -> {head}, difference {phrasing.interval(judgement, metric.unit)}, {judgement.cases} cases"


def _story(change: CaseChange) -> str:
    case, pair = change.pair.case, change.pair
    lines = [f"question: {case.question}", f"expected: {' / '.join(case.expected)}"]
    lines += [f"{name}: {one.answers[0] if one else None}" for name, one in (("base", pair.base), ("head", pair.head))]
    lines += [f"broken: {name}" for name in change.broken]
    lines += [f"{name}: {text}" for name, text in case.errors.items()]
    return "\n".join(lines)


def _legal(text: str) -> str:
    """Only characters that XML 1.0 knows; lines stay lines."""
    lines = [printable(line) for line in text.split("\n")]
    return "".join(sign for sign in "\n".join(lines) if sign not in "\ufffe\uffff")
