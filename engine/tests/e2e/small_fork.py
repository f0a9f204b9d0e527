"""A fork whose releases are small but complete: real model, database, proxy and load."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.checkout import Checkout

ROOT = Path(__file__).parents[3]
# An answer_key that falls is called worse from 11 lost answers on, where nothing is gained: that takes so many cases.
SMALL: Mapping[str, Mapping[str, Any]] = {
    "evaluate": {"limit": 72, "workers": 2},
    "rehearsal": {"time_scale": 0.1, "cases": 56},
}


class Fork(Checkout):
    """A clone in which releases are made of the trained starter, by the project's own gates.

    One passage in each prompt is a fifth of the reading, which is most of the work of the model."""

    def __init__(self, folder: Path) -> None:
        super().__init__(ROOT, folder)
        self.edit("pipelines/params.yaml", self._few)
        self.edit("config/service.yaml", lambda service: service["retrieval"].update(k=1))
        self.edit("config/gates.yaml", self._small_sample)
        self.be_patient()
        self.commit("small")

    @staticmethod
    def _few(params: dict[str, Any]) -> None:
        for section, values in SMALL.items():
            params[section] |= values

    @staticmethod
    def _small_sample(gates: dict[str, Any]) -> None:
        # Champion and candidate are evaluated minutes apart, beside other tests: the clock is not what is tested here.
        next(gate for gate in gates["gates"] if gate["name"] == "latency_p95_sane")["limit"] = 100.0
        # The canary's visitors wait for longer answers than stable's, beside other tests: pairs then say less. A canary
        # that is made slow is slower than this, and there is no time for many pairs of it.
        for gate in gates["gates"]:
            if gate["name"] in ("canary_slowdown", "canary_ttft_slowdown"):
                gate["limit"] = 2.5
            if gate["stage"] == "load":
                gate["min_samples"] = 6
        gates["comparison"]["minimum_cases"] = 5  # of 28, a model of few steps and an untouched one answer fewer

    @property
    def champion(self) -> str:
        return self.live

    @property
    def releases(self) -> set[str]:
        return {path.name for path in (self.root / ".sluice" / "releases").glob("r-*")}

    def folder(self, name: str) -> Path:
        return self.root / ".sluice" / "releases" / name

    def edit_prompt(self, old: str, new: str) -> None:
        path = self.root / "prompts" / "answer.prompt.yml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


def released(output: str) -> str:
    found = re.search(r"^release\s+(r-[0-9a-f]{12})", output, re.MULTILINE)
    assert found, output
    return found[1]
