"""All suites, one line each. To add a suite, write its file (`SUITE`) and its line."""

from __future__ import annotations

from collections.abc import Mapping

from sluice.extras.redteam.attack import AttackSuite
from sluice.extras.redteam.suites import (
    cross_tenant,
    direct_injection,
    indirect_injection,
    multi_turn,
    obfuscation,
    personal_data,
    prompt_extraction,
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
}
