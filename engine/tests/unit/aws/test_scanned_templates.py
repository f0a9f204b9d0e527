"""The templates of engine/aws under a scanner, checkov: nothing but what is left out here with its reason."""

from pathlib import Path

from support import checkov
from unit.aws.conftest import TEMPLATE

LEFT_OUT = {
    "CKV_AWS_18": "access logs of a bucket want another bucket; who needs them turns data events of CloudTrail on",
    "CKV_AWS_118": "of the database CloudWatch has what it costs nothing to see; more needs a further role",
    "CKV_AWS_136": "images are encrypted with AWS's key: one of your own is a decision of the account",
    "CKV_AWS_149": "so are secrets",
    "CKV_AWS_161": "the service signs in with a user of its own; a token of IAM lasts 15 minutes, a connection longer",
}
pytestmark = checkov.MARKS


def test_the_templates_break_no_rule_but_those_that_are_left_out() -> None:
    report = checkov.report("cloudformation", TEMPLATE.parent)
    assert report["summary"]["parsing_errors"] == 0
    scanned = {Path(row["file_path"]).name for row in report["results"]["passed_checks"]}
    assert scanned >= {TEMPLATE.name, "database.yaml"}  # there is no rule for alarms
    assert {row["check_id"] for row in report["results"]["failed_checks"]} == set(LEFT_OUT)
