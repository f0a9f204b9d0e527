"""config/budgets.yaml: what may be used in a day. It is not part of a release: an environment has its own."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from sluice.core.settings import Settings


class DailyLimits(Settings):
    """Of one budget; None: without a limit."""

    requests: int | None = Field(default=None, ge=0)
    tokens: int | None = Field(default=None, ge=0)
    dollars: float | None = Field(default=None, ge=0)


class Reservation(Settings):
    """What one request takes at most. It is held while the request is answered."""

    tokens: int = Field(default=0, ge=0)
    dollars: float = Field(default=0, ge=0)


class BudgetSettings(Settings):
    reserve: Reservation = Reservation()
    everybody: DailyLimits = DailyLimits()
    each_key: DailyLimits = DailyLimits()
    keys: dict[str, DailyLimits] = Field(default_factory=dict, description="in place of each_key, by name")
    each_tenant: DailyLimits = DailyLimits()
    tenants: dict[str, DailyLimits] = Field(default_factory=dict, description="in place of each_tenant, by name")

    @model_validator(mode="after")
    def _what_is_limited_is_reserved(self) -> Self:
        for unit in ("tokens", "dollars"):
            limited = any(getattr(one, unit) is not None for one in self._limits)
            if limited and not getattr(self.reserve, unit):
                raise ValueError(f"reserve.{unit} is missing, and a budget limits {unit}: the most of one request")
        return self

    @property
    def limited(self) -> bool:
        """Whether there is any budget."""
        return any(one != DailyLimits() for one in self._limits)

    def of(self, key: str | None, tenant: str | None) -> dict[str, DailyLimits]:
        """The budgets that a request counts against, by name, sorted.

        Args:
            key: name of the caller's key; None where no keys are asked for.
            tenant: of the key.
        """
        found = {"everybody": self.everybody}
        if key is not None:
            found[f"key {key}"] = self.keys.get(key, self.each_key)
        if tenant is not None:
            found[f"tenant {tenant}"] = self.tenants.get(tenant, self.each_tenant)
        return {name: limits for name, limits in sorted(found.items()) if limits != DailyLimits()}

    @property
    def _limits(self) -> list[DailyLimits]:
        named = [*self.keys.values(), *self.tenants.values()]
        return [self.everybody, self.each_key, self.each_tenant, *named]
