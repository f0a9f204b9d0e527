"""junit.xml: broken is a failure, no result is an error, and it keeps the schema that tools share."""

from __future__ import annotations

import pytest
from lxml import etree

from sluice.evaluation.comparison_result import Comparison
from sluice.evaluation.reports.junit import junit
from unit.evaluation.asking import ask
from unit.evaluation.reports.conftest import Comparing

# The elements and attributes that readers of such files agree on, written down as an XML Schema.
SCHEMA = """
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">
  <xs:complexType name="outcome"><xs:simpleContent><xs:extension base="xs:string">
    <xs:attribute name="message"/><xs:attribute name="type"/>
  </xs:extension></xs:simpleContent></xs:complexType>
  <xs:element name="testsuites"><xs:complexType>
    <xs:sequence><xs:element ref="testsuite" minOccurs="0" maxOccurs="unbounded"/></xs:sequence>
    <xs:attribute name="name"/><xs:attribute name="time" type="xs:decimal"/>
    <xs:attribute name="tests" type="xs:nonNegativeInteger"/>
    <xs:attribute name="failures" type="xs:nonNegativeInteger"/>
    <xs:attribute name="errors" type="xs:nonNegativeInteger"/>
  </xs:complexType></xs:element>
  <xs:element name="testsuite"><xs:complexType>
    <xs:sequence><xs:element ref="testcase" minOccurs="0" maxOccurs="unbounded"/></xs:sequence>
    <xs:attribute name="name" use="required"/><xs:attribute name="time" type="xs:decimal"/>
    <xs:attribute name="tests" type="xs:nonNegativeInteger" use="required"/>
    <xs:attribute name="failures" type="xs:nonNegativeInteger"/>
    <xs:attribute name="errors" type="xs:nonNegativeInteger"/>
    <xs:attribute name="skipped" type="xs:nonNegativeInteger"/>
  </xs:complexType></xs:element>
  <xs:element name="testcase"><xs:complexType>
    <xs:choice minOccurs="0">
      <xs:element name="failure" type="outcome"/><xs:element name="error" type="outcome"/>
      <xs:element name="skipped" type="outcome"/>
    </xs:choice>
    <xs:attribute name="classname" use="required"/><xs:attribute name="name" use="required"/>
    <xs:attribute name="time" type="xs:decimal"/>
  </xs:complexType></xs:element>
</xs:schema>
"""


def read(comparison: Comparison) -> dict[tuple[str, str], str]:
    """Outcome by (suite, test): the tag of its element, or an empty string."""
    root = etree.fromstring(junit(comparison))
    etree.XMLSchema(etree.fromstring(SCHEMA)).assertValid(root)
    found = {
        (suite.get("name"), test.get("name")): test[0].tag if len(test) else "" for suite in root for test in suite
    }
    outcomes = list(found.values())
    assert (int(root.get("tests")), int(root.get("failures")), int(root.get("errors"))) == (
        len(outcomes),
        outcomes.count("failure"),
        outcomes.count("error"),
    )
    return found


def test_outcomes(worse: Comparison) -> None:
    found = read(worse)
    assert found["verdict", "verdict"] == "failure"
    assert found["metrics", "decline_accuracy"] == "failure"
    assert found["metrics", "f1"] == ""
    assert (found["cases", "q050"], found["cases", "q051"]) == ("error", "error")
    for case in worse.cases:
        assert (found["cases", case.id] == "failure") == (case.status == "broken"), case.id
        assert found["cases", case.id] != "skipped"


def test_nothing_that_was_not_judged_passes(comparing: Comparing) -> None:
    assert read(comparing([], []))["verdict", "verdict"] == "error"
    few = read(comparing(ask(seed=1, cases=12), ask(seed=2, cases=12)))
    assert few["verdict", "verdict"] == "error"
    assert few["metrics", "f1"] == "error"
    assert few["metrics", "mrr" if ("metrics", "mrr") in few else "tokens"] == "skipped"


@pytest.mark.filterwarnings("error")
def test_foreign_text_stays_text(hostile: Comparison) -> None:
    assert len([name for suite, name in read(hostile) if suite == "cases"]) == 150


def test_green_has_no_failure_and_no_error(comparing: Comparing) -> None:
    found = read(comparing(ask(seed=1), ask(seed=1)))
    assert set(found.values()) == {""}
