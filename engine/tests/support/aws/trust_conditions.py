"""Whether a trust policy lets a web identity in, by the rules of IAM's user guide ("IAM JSON policy elements: Condition
operators" and "Conditions with multiple context keys or values", Version 2012-10-17): operators and keys are all to be
met, one value of a key is enough, a key that the request lacks is not met, names of keys have no case. StringEquals
compares with case; StringLike the same, with * for any characters and ? for one.

STS gives these claims of GitHub as keys since January 2026: aud, sub, actor, actor_id, enterprise_id, environment,
job_workflow_ref, ref, repository, repository_id and workflow. Another claim is as if it were not there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

ISSUER = "token.actions.githubusercontent.com"
_CLAIMS = """aud sub actor actor_id enterprise_id environment job_workflow_ref ref repository repository_id workflow"""


def lets_in(statement: Mapping[str, Any], claims: Mapping[str, str]) -> bool:
    """`claims`: of a token of GitHub."""
    assert statement["Effect"] == "Allow"
    keys = {f"{ISSUER}:{name}": value for name, value in claims.items() if name in _CLAIMS.split()}
    return all(
        _is_met(operator, wanted, keys.get(key.lower()))
        for operator, pairs in statement.get("Condition", {}).items()
        for key, wanted in pairs.items()
    )


def _is_met(operator: str, wanted: str | list[str], held: str | None) -> bool:
    values = [wanted] if isinstance(wanted, str) else wanted
    if operator == "StringEquals":
        return held in values
    assert operator == "StringLike", f"{operator} is not known here"
    return held is not None and any(re.fullmatch(_pattern(value), held, re.S) for value in values)


def _pattern(value: str) -> str:
    return re.escape(value).replace(r"\*", ".*").replace(r"\?", ".")
