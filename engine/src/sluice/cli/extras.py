"""`sluice extras`: the parts of the engine that a project may leave out."""

from __future__ import annotations

from sluice.core.extras import extras


def list_extras() -> None:
    """List the extras that are here, and what each is for; `sluice init --without` takes them out."""
    for name, extra in extras().items():
        needs = f" (needs {', '.join(extra.needs)})" if extra.needs else ""
        print(f"{name:10}  {extra.summary}{needs}")
