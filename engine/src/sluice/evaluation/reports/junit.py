"""junit.xml: the comparison for tools that read test results.

A case that broke is a failure. A case without a result is an error and not skipped, because most tools count a skipped
test as passed. Only an informational metric that could not be judged is skipped.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

from sluice.evaluation.case_changes import CaseChange
from sluice.evaluation.comparison_result import Comparison, MetricComparison
from sluice.evaluation.reports import phrasing
from sluice.evaluation.reports.markdown_escape import printable

_CASES = {"broken": "failure"} | dict.fromkeys(("failed", "not evaluated", "not compared", "error"), "error")


def junit(comparison: Comparison) -> bytes:
    """Three suites: the verdict, the metrics, the cases. UTF-8."""
    root = ET.Element("testsuites", name="sluice comparison")
    verdict = _suite(root, "verdict")
    outcome = {"worse": "failure", "improved": "", "no difference seen": ""}.get(comparison.verdict, "error")
    text = "\n".join([phrasing.sentence(comparison), *comparison.reasons])
    _test(verdict, "comparison", "verdict", outcome, comparison.verdict, text)
    metrics = _suite(root, "metrics")
    for metric in comparison.metrics:
        _test(metrics, "comparison.metrics", metric.name, _of_metric(metric), metric.verdict, _figures(metric))
    cases = _suite(root, "cases")
    for case in comparison.cases:
        _test(cases, "comparison.cases", case.id, _CASES.get(case.status, ""), case.status, _story(case))
    for suite in root:
        tests = suite.findall("testcase")
        suite.set("tests", str(len(tests)))
        for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            suite.set(key, str(sum(test.find(tag) is not None for test in tests)))
    for key in ("tests", "failures", "errors"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _suite(root: ET.Element, name: str) -> ET.Element:
    return ET.SubElement(root, "testsuite", name=name, time="0")


def _test(suite: ET.Element, group: str, name: str, outcome: str, verdict: str, text: str) -> None:
    test = ET.SubElement(suite, "testcase", classname=group, name=_legal(name), time="0")
    if outcome == "skipped":
        ET.SubElement(test, outcome, message=verdict)
    elif outcome:
        ET.SubElement(test, outcome, message=verdict, type=verdict.replace(" ", "_")).text = _legal(text)


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
    case = change.pair.case
    answers = [(one.answers[0] if one else None) for one in (change.pair.base, change.pair.head)]
    lines = [
        f"question: {case.question}",
        f"expected: {' / '.join(case.expected)}",
        f"base: {answers[0]}",
        f"head: {answers[1]}",
        *(f"broken: {name}" for name in change.broken),
        *(f"{name}: {text}" for name, text in case.errors.items()),
    ]
    return "\n".join(lines)


def _legal(text: str) -> str:
    """Only characters that XML 1.0 knows; lines stay lines."""
    lines = [printable(line) for line in text.split("\n")]
    return "".join(sign for sign in "\n".join(lines) if sign not in "\ufffe\uffff")
