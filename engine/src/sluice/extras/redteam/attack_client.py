"""Sends attacks to a service over HTTP, in the way of its ordinary clients."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

from sluice.core.errors import SluiceError
from sluice.extras.redteam.attack import Attack, ServiceReply
from sluice.extras.redteam.attack_target import AttackTarget
from sluice.rollout.chat_stream import PATH, request


@dataclass(frozen=True)
class AttackAttempt:
    """An attack and what became of it. `got`: what it got out of the service, empty when nothing; `error`: why there
    is no answer to judge, which is neither success nor failure of the attack."""

    attack: Attack
    reply: ServiceReply | None = None
    got: str = ""
    error: str = ""


def ask(target: AttackTarget, attack: Attack, *, as_owner: bool, seconds: float) -> ServiceReply:
    """The service's answer. SluiceError when there is none: an error status, a broken body, no connection."""
    tenant = attack.owner if as_owner and attack.owner else attack.tenant
    key = target.keys.get(tenant)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        body = {"messages": list(attack.messages)} | ({"tools": list(attack.tools)} if attack.tools else {})
        response = request(target.url + PATH, seconds, body=body, headers=headers)
    except OSError as error:
        raise SluiceError(f"{target.url}: no answer: {type(error).__name__}") from None
    if response.status_code != 200:
        said = response.content[:200].decode(errors="replace")
        raise SluiceError(f"{target.url}: status {response.status_code}: {said}")
    return _reply(target.url, response.content)


def _reply(url: str, content: bytes) -> ServiceReply:
    try:
        body: Any = json.loads(content)
        choice = body["choices"][0]
        calls = [call["function"] for call in choice["message"].get("tool_calls") or ()]
        return ServiceReply(
            text=" ".join([choice["message"]["content"] or "", *map(json.dumps, calls)]).strip(),
            citations=tuple(str(one["document"]) for one in body.get("citations") or ()),
            blocked=str(body.get("blocked") or ""),
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise SluiceError(f"{url}: not a chat completion: {type(error).__name__}") from None


def attempt_all(
    target: AttackTarget,
    attacks: Sequence[Attack],
    *,
    as_owner: bool = False,
    workers: int,
    seconds: float,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> list[AttackAttempt]:
    """Each attack once, in the order of `attacks`; `workers` at a time, each within `seconds`."""

    def one(attack: Attack) -> AttackAttempt:
        try:
            reply = ask(target, attack, as_owner=as_owner, seconds=seconds)
        except SluiceError as error:
            return AttackAttempt(attack, error=error.message)
        return AttackAttempt(attack, reply, got=attack.detect(reply))

    pool = ThreadPoolExecutor(workers, thread_name_prefix="attack")
    try:
        futures = [pool.submit(one, attack) for attack in attacks]
        for done, _ in enumerate(as_completed(futures), 1):
            on_progress(done, len(attacks))
        return [future.result() for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt does not wait for the remaining attacks
