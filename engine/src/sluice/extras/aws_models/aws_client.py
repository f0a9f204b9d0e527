"""Clients of AWS for Bedrock and SageMaker: aiobotocore, which a deadline or a disconnected client can cancel."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from sluice.core.errors import SluiceError
from sluice.llm.provider_failures import in_time
from sluice.llm.provider_http import LoopResource

if TYPE_CHECKING:
    from sluice.llm.providers import ProviderContext
    from sluice.llm.settings import AwsSpec


class AwsClient:
    """A client of one AWS service, with the settings of an entry."""

    def __init__(self, context: ProviderContext[AwsSpec], service: str) -> None:
        import botocore.session
        from aiobotocore.config import AioConfig
        from aiobotocore.session import get_session
        from botocore.tokens import FrozenAuthToken

        spec, key = context.spec, context.key()
        session: Any = get_session()
        options: dict[str, Any] = {"signature_version": "bearer"} if key else {}
        if key:
            token = FrozenAuthToken(key)
            session.register_component("token_provider", SimpleNamespace(load_token=lambda **_: token))
        elif botocore.session.get_session().get_credentials() is None:  # variables, profile, role
            raise SluiceError(
                f"config/providers.yaml: {spec.name}: no AWS credentials were found",
                remedy="set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run it under a role",
            )
        config = AioConfig(
            connect_timeout=spec.timeouts.connect,
            read_timeout=None,  # the deadline of each request
            retries={"total_max_attempts": 1},
            max_pool_connections=spec.max_concurrency,
            warm_up_loader_caches=True,  # reads the description of the service in a thread
            **options,
        )
        place = {"region_name": spec.region, "endpoint_url": context.base_url(), "config": config}
        self._clients: LoopResource[Any] = LoopResource(lambda: session.create_client(service, **place))

    async def events(
        self, operation: str, member: str, request: dict[str, Any], deadline: float
    ) -> AsyncGenerator[dict[str, Any], None]:
        client = await in_time(self._clients.get(), deadline)
        reply = await in_time(getattr(client, operation)(**request), deadline)
        try:
            events = aiter(reply[member])
            while (event := await in_time(anext(events, None), deadline)) is not None:
                yield event
        finally:
            reply[member].close()
