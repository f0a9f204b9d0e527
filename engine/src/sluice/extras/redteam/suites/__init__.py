"""All suites, one line each. To add a suite, write its file (`SUITE`) and its line.

Those of tools need the extra `clients`, which takes them from a caller."""

from __future__ import annotations

from collections.abc import Mapping

from sluice.core.extras import extras
from sluice.extras.redteam.attack import AttackSuite
from sluice.extras.redteam.suites import (
    cross_tenant,
    direct_injection,
    honest_questions,
    indirect_injection,
    multi_turn,
    obfuscation,
    personal_data,
    prompt_extraction,
    tool_results,
)

SUITES: Mapping[str, AttackSuite] = {
    one.SUITE.name: one.SUITE
    for one in (
        direct_injection,
        indirect_injection,
        obfuscation,
        multi_turn,
        prompt_extraction,
        personal_data,
        cross_tenant,
    )
} | {one.name: one for one in (tool_results.RESULTS, tool_results.CALLS) if "clients" in extras()}
# What a run asks: the attacks, and what must not be taken for one.
ASKED: Mapping[str, AttackSuite] = {**SUITES, honest_questions.NAME: honest_questions.SUITE}
