from __future__ import annotations

import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from sluice.evaluation.comparison import compare

# Until the module is there: one look, at all cases.
if find_spec("sluice.evaluation.sequential") is None:

    class OneLook:
        def __init__(self, metrics: Any, policy: Any, cases: int) -> None:
            self.looks = (cases,)
            self._of = metrics, policy

        def look(self, base: Any, head: Any) -> Any:
            found = compare(base, head, *self._of)
            vars(found).update(asked=len(head), planned=len(head), stopped="")
            return found

    stand_in: Any = ModuleType("sluice.evaluation.sequential")
    stand_in.SequentialComparison, stand_in.asking_order = OneLook, list
    sys.modules[stand_in.__name__] = stand_in
