"""The budgets as a part of the service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluice.core.settings import load_settings
from sluice.extras.budgets.ledger import MIGRATIONS, BudgetLedger, configure
from sluice.extras.budgets.middleware import BudgetMiddleware
from sluice.extras.budgets.settings import BudgetSettings
from sluice.extras.budgets.tenant_usage import TenantUsageMiddleware
from sluice.retrieval.store_schema import open_tables

if TYPE_CHECKING:
    from sluice.retrieval.stores import Stores


def migrations() -> Path:
    """The tables of this extra, for `sluice index migrate`."""
    return MIGRATIONS


@contextmanager
def open_budgets(stores: Stores, state: Path) -> Iterator[Any]:
    """Budgets of a service, as far as config/budgets.yaml has any.

    Args:
        stores: config/stores.yaml; the default one counts.
        state: the .sluice/ folder.

    Yields:
        What puts them around the API, and counts what each tenant uses.

    Raises:
        SluiceError: the settings are not valid, or the store cannot be used.
    """
    path = state.parent / "config" / "budgets.yaml"
    settings = load_settings(path, BudgetSettings) if path.exists() else BudgetSettings()
    if not settings.limited:
        yield lambda _, application, metrics: (application, partial(TenantUsageMiddleware, metrics=metrics))
        return
    with open_tables(stores, state, "budgets", configure) as pool:
        ledger = BudgetLedger(pool)

        def add(_: Any, application: Any, metrics: Any) -> tuple[Any, Any]:
            def around(app: Any) -> Any:
                charged = BudgetMiddleware(app, settings=settings, ledger=ledger, metrics=metrics)
                return TenantUsageMiddleware(charged, metrics)

            return application, around

        yield add
