"""What the families of attacks are in the words of OWASP: the Top 10 for LLM applications (2025) and the Top 10 for
agentic applications (2026). What no family attacks says what holds it instead, or that nothing here does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class OwaspEntry(NamedTuple):
    """`families`: attacks that try it; `otherwise`: what is done about it beside them."""

    number: str
    title: str
    families: tuple[str, ...] = ()
    otherwise: str = ""


_INJECTIONS = ("direct_injection", "indirect_injection", "obfuscation", "multi_turn", "tool_results", "tool_calls")
ENTRIES: Sequence[OwaspEntry] = (
    OwaspEntry("LLM01:2025", "Prompt Injection", _INJECTIONS),
    OwaspEntry("LLM02:2025", "Sensitive Information Disclosure", ("personal_data", "cross_tenant")),
    OwaspEntry("LLM03:2025", "Supply Chain", (), "digests of every part of a release, locks with hashes"),
    OwaspEntry("LLM04:2025", "Data and Model Poisoning", ("indirect_injection",), "review and contract of the data"),
    OwaspEntry("LLM05:2025", "Improper Output Handling", (), "the check `markup`; the chat page shows text only"),
    OwaspEntry("LLM06:2025", "Excessive Agency", ("tool_calls",), "effects, limits and approvals of config/tools.yaml"),
    OwaspEntry("LLM07:2025", "System Prompt Leakage", ("prompt_extraction",)),
    OwaspEntry("LLM08:2025", "Vector and Embedding Weaknesses", ("cross_tenant", "indirect_injection")),
    OwaspEntry("LLM09:2025", "Misinformation", (), "the evaluation: right answers, citations, declines"),
    OwaspEntry("LLM10:2025", "Unbounded Consumption", (), "limits of config/service.yaml, rates of keys"),
    OwaspEntry("ASI01", "Agent Goal Hijack", _INJECTIONS),
    OwaspEntry("ASI02", "Tool Misuse and Exploitation", ("tool_calls",), "schemas, effects and approvals of tools"),
    OwaspEntry("ASI03", "Identity and Privilege Abuse", ("cross_tenant",), "scopes of keys"),
    OwaspEntry("ASI04", "Agentic Supply Chain Vulnerabilities", (), "pinned descriptions of tools"),
    OwaspEntry("ASI05", "Unexpected Code Execution (RCE)", (), "no tool of the starter runs code"),
    OwaspEntry("ASI06", "Memory and Context Poisoning", ("multi_turn", "indirect_injection", "tool_results")),
    OwaspEntry("ASI07", "Insecure Inter-Agent Communication", (), "there is one agent"),
    OwaspEntry("ASI08", "Cascading Failures", (), "limits of steps, tokens, dollars and seconds; the canary"),
    OwaspEntry("ASI09", "Human-Agent Trust Exploitation", (), "an approval shows the call itself; nothing attacks it"),
    OwaspEntry("ASI10", "Rogue Agents", (), "writes wait for a person; a release can be taken back"),
)


def coverage(successes: Mapping[str, str]) -> list[dict[str, str]]:
    """The entries as a report shows them."""
    found = []
    for entry in ENTRIES:
        tried = [f"{name}: {successes[name]}" for name in entry.families if name in successes]
        left = [f"{name}: not tried" for name in entry.families if name not in successes]
        said = "; ".join([*tried, *left, *([entry.otherwise] if entry.otherwise else [])])
        found.append({"number": entry.number, "title": entry.title, "said": said if entry.families else f"– ({said})"})
    return found
