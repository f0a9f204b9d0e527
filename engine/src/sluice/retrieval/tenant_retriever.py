"""Search for tenants that have stores of their own (`tenants` of config/stores.yaml).

A question of such a tenant is searched in the tenant's store only, every other question in the default store only. Both
hold the collection of the same release, so that a release answers all tenants from the same documents. As in any store,
a search sees the documents for all tenants and the tenant's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sluice.core.errors import SluiceError
from sluice.retrieval.index_files import TextEncoder
from sluice.retrieval.passages import Hit
from sluice.retrieval.postgres import open_retriever
from sluice.retrieval.retriever import Retriever
from sluice.retrieval.stores import Stores


class TenantRetriever(Retriever):
    """`own`: the retriever of each tenant with a store of its own; `shared`: that of all others."""

    shared: Retriever
    own: Mapping[str | None, Retriever]

    def search(self, question: str, *, k: int, tenant: str | None = None) -> list[Hit]:
        return self.own.get(tenant, self.shared).search(question, k=k, tenant=tenant)


@contextmanager
def open_for_tenants(index: Path, embedder: TextEncoder, stores: Stores, state: Path) -> Iterator[Retriever]:
    """`open_retriever`, and for tenants that have a store of their own a retriever over that one."""
    elsewhere = {tenant: store for tenant, store in stores.tenants.items() if store != stores.default}
    with ExitStack() as opened:
        shared = opened.enter_context(open_retriever(index, embedder, stores, state))
        found: dict[str, Retriever] = {}
        for store in sorted(set(elsewhere.values())):
            opening = open_retriever(index, embedder, stores.using(store=store), state, load=False)
            try:
                found[store] = opened.enter_context(opening)
            except SluiceError as error:
                whose = ", ".join(sorted(tenant for tenant, name in elsewhere.items() if name == store))
                raise SluiceError(f"store {store!r}, of {whose} alone: {error.message}", remedy=error.remedy) from error
        own: dict[str | None, Retriever] = {tenant: found[store] for tenant, store in elsewhere.items()}
        yield TenantRetriever(embedder=embedder, shared=shared, own=own) if own else shared
