"""Which requests main's settings allow, and what they can cost at most. Nothing is asked before all of it is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sluice.core.workspace import Workspace
from sluice.evaluation.replay import response_key
from sluice.evaluation.response_cache import FOLDER, ResponseCache
from sluice.extras.hosted.limits import load_limits
from sluice.extras.hosted.request_file import NAME, ProviderRequest, RefusedRequestsError, read_requests
from sluice.llm.model_files import Models
from sluice.llm.settings import ProviderSpec, RemoteSpec, load_providers


@dataclass(frozen=True)
class AllowedRequest:
    """A request, and the entry of config/providers.yaml that answers it."""

    request: ProviderRequest
    spec: RemoteSpec

    @property
    def most_tokens(self) -> int:
        """Of all attempts: each of them may be paid for."""
        return (self.spec.retries + 1) * (self.request.size + self.request.parameters.max_tokens)

    @property
    def most_dollars(self) -> float:
        prices, attempts = self.spec.prices, self.spec.retries + 1
        each = self.request.size * prices.input + self.request.parameters.max_tokens * prices.output
        return attempts * each / 1_000_000


def check_requests(workspace: Workspace, raw: bytes) -> tuple[list[AllowedRequest], list[AllowedRequest]]:
    """Checks a file of requests against the settings of this checkout."""
    limits = load_limits(workspace.config)
    providers = load_providers(workspace.config / "providers.yaml", roles=Models.roles())
    specs = (*providers.chat, *providers.judge)
    requests = read_requests(raw, limits)
    found = [AllowedRequest(request, _asked(number, request, specs)) for number, request in enumerate(requests, 1)]
    cache = ResponseCache(workspace.state / FOLDER)
    new = [one for one in found if cache.get(one.request.digest) is None]
    if sum(one.most_tokens for one in new) > limits.tokens:
        remedy = "ask for less, or raise `tokens` in config/hosted.yaml of main"
        raise RefusedRequestsError(f"{NAME}: may take more than {limits.tokens} tokens", remedy=remedy)
    return found, new


def _asked(number: int, request: ProviderRequest, specs: Sequence[ProviderSpec]) -> RemoteSpec:
    messages, parameters = request.asked()
    named = [spec for spec in specs if spec.name == request.provider and isinstance(spec, RemoteSpec)]
    for spec in named:
        if response_key(spec, messages, parameters, request.trial) == request.digest:
            return spec
    what = "another digest than main's settings make of it" if named else "not a hosted model of main"
    remedy = "a new or changed entry is merged in reserve first, behind those that answer"
    raise RefusedRequestsError(f"{NAME}: line {number}: {what} (config/providers.yaml)", remedy=remedy)
