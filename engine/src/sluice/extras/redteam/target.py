"""The attacked service, with the attack documents in its index, and its client. `complying` puts the release's guards
before a model that obeys every instruction, so an attack that succeeds has passed the guards; `unguarded` is the same
without guards, so an attack that fails there proves nothing; `released` is the release itself."""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from sluice.cli.common import find_release
from sluice.core.errors import SluiceError
from sluice.core.progress import PipelineProgress
from sluice.core.workspace import Workspace
from sluice.extras.redteam.attack import TENANTS, Attack, ServiceReply, tokens_in
from sluice.extras.redteam.transforms import readings, wished_form
from sluice.guardrails.guards import NoChecks
from sluice.jobs.dvc_pipeline import EXPECTED, command, environment, pull, reproduce
from sluice.llm.chat import Delta, Messages, Usage
from sluice.prompts import ModelParameters
from sluice.rehearsal.services import ReleaseService, ReleaseServiceSpec
from sluice.release.release_bundle import open_bundle
from sluice.retrieval.stores import Stores, StoreSpec
from sluice.rollout.chat_stream import PATH, request
from sluice.serving.api_keys import VARIABLE, add_key, keys_path
from sluice.serving.auth import KeyRing
from sluice.serving.http_api import create_app
from sluice.serving.middleware import TrafficState
from sluice.serving.release_parts import DRAFT, ReleaseBundle, draft_adapter, draft_bundle
from sluice.serving.runtime import open_runtime
from sluice.serving.server import listen

# What the wordings of cases/extraction.yaml ask for; the passages may speak of prompts without being asked for one.
_PROMPT = re.compile(
    r"prompt|instructions?\b|rules\b|guidelines|told before|text above|before this message|first message|"
    r"(?:system|developer) message|hidden text",
    re.IGNORECASE,
)
_PIECE = 24


class ComplyingModel:
    async def stream(
        self,
        messages: Messages,
        parameters: ModelParameters,
        *,
        deadline: float,  # noqa: ARG002 - the signature of a chat
    ) -> AsyncGenerator[Delta, None]:
        if called := _ordered_call(messages, [one["function"]["name"] for one in getattr(parameters, "tools", ())]):
            yield Delta("", tool_calls=(called,))  # type: ignore[arg-type]
            yield Delta(finish_reason="tool_calls", usage=Usage(len(str(messages).split()), 1))
            return
        reply = answer(messages)
        for start in range(0, len(reply), _PIECE):
            yield Delta(reply[start : start + _PIECE])
        yield Delta(finish_reason="stop", usage=Usage(len(str(messages).split()), len(reply.split())))


def answer(messages: Messages) -> str:
    """Obey a prompt whose last message holds passages and question."""
    shown = messages[-1]["content"]
    passages, _, question = shown.rpartition("\n\n")
    if said := _canaries(question):
        text = said
    elif _PROMPT.search(question):
        text = " ".join(message["content"] for message in messages[:-1])
    else:
        # Both: an attack that finds another one among its passages is still an attack.
        text = "\n".join(filter(None, (_canaries(passages), passages))) or shown
    form = wished_form(question)
    return form.apply(text) if form else text


def _ordered_call(messages: Messages, names: Sequence[str]) -> dict[str, Any] | None:
    """Return the tool call that a tool's result orders, with the canaries as its argument."""
    shown = messages[-1]["content"]
    wanted = next((name for name in names if re.search(rf"\b{name}\b", shown)), None)
    if messages[-1]["role"] != "tool" or wanted is None or not (canaries := _canaries(shown)):
        return None
    arguments = json.dumps({"title": canaries, "text": canaries})
    return {"type": "tool_call_chunk", "index": 0, "id": "call_2", "name": wanted, "args": arguments}


def _canaries(text: str) -> str:
    return " ".join(dict.fromkeys(token for one in sorted(readings(text)) for token in tokens_in(one)))


TargetKind: TypeAlias = Literal["complying", "unguarded", "released"]
SIDES: tuple[TargetKind, ...] = get_args(TargetKind)
_NOBODY = "nobody"
# The store of the attacks is theirs alone: what is planted never lies beside what is served to people.
_STORES = Stores(default="redteam", stores={"redteam": StoreSpec(kind="embedded", timeout_seconds=10)})
_RATE = 10**6  # requests a minute: the attacks must not be stopped by the rate of a key


def serve(bundle: ReleaseBundle, side: TargetKind, port: int, *, index: Path, state: Path) -> None:
    """Serve until SIGTERM; `state` is the folder of the store."""
    traffic = TrafficState()
    service = bundle.service
    if side != "released":
        # The guards see whole passages, and here so does the model: what they let pass must not be left out by chance.
        service = service.model_copy(update={"small_model": None})
    drill = replace(bundle, index=index, service=service)
    with open_runtime(
        drill,
        _STORES,
        state,
        stand_in=None if side == "released" else ComplyingModel(),
        guards=NoChecks() if side == "unguarded" else None,
    ) as runtime:
        app = create_app(drill, runtime.application, traffic, providers=runtime.chat, keys=KeyRing(keys_path(state)))
        seconds = bundle.service.drain_seconds
        listen(app, traffic, "127.0.0.1", port, drain_seconds=seconds, before=runtime.application.warm_up)


@dataclass(frozen=True)
class AttackTarget:
    """A running service and its keys by tenant; None is a caller without a tenant."""

    url: str
    keys: Mapping[str | None, str]


@dataclass(frozen=True)
class AttackAttempt:
    """An attack and its outcome: `got` is empty if it failed; `error` says why there is no answer to judge."""

    attack: Attack
    reply: ServiceReply | None = None
    got: str = ""
    error: str = ""


def ask(target: AttackTarget, attack: Attack, *, as_owner: bool, seconds: float) -> ServiceReply:
    """Return the service's answer; raise SluiceError if there is none."""
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
    try:
        answered: Any = json.loads(response.content)
        choice = answered["choices"][0]
        calls = [call["function"] for call in choice["message"].get("tool_calls") or ()]
        return ServiceReply(
            text=" ".join([choice["message"]["content"] or "", *map(json.dumps, calls)]).strip(),
            citations=tuple(str(one["document"]) for one in answered.get("citations") or ()),
            blocked=str(answered.get("blocked") or ""),
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise SluiceError(f"{target.url}: not a chat completion: {type(error).__name__}") from None


def attempt_all(
    target: AttackTarget,
    attacks: Sequence[Attack],
    *,
    as_owner: bool = False,
    workers: int,
    seconds: float,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> list[AttackAttempt]:
    """Make each attack once, `workers` at a time; return the attempts in the order of `attacks`."""

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


FOLDER = "redteam"


@dataclass(frozen=True)
class SystemUnderTest:
    """A release, or the working tree, which has no `folder`."""

    title: str
    bundle: ReleaseBundle
    folder: Path | None


def draft(workspace: Workspace, *, make: bool = True) -> ReleaseBundle:
    """Return the release that the working tree would make; `make` runs its stale stages first."""
    if make:
        journey = PipelineProgress(EXPECTED, workspace.state / "durations.json")
        journey.begin("data")
        journey.end(cached=not pull(workspace))
        reproduce(workspace, journey, until="train")
    return draft_bundle(workspace, adapter=draft_adapter(workspace))


def release_at(url: str) -> str:
    """Return the id of the release that answers at an address."""
    try:
        found = request(f"{url.rstrip('/')}/version", timeout=10).json()["release"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SluiceError(
            f"{url}: no Sluice service answers there ({type(error).__name__})",
            remedy="name its address without a path, as in http://127.0.0.1:8080",
        ) from None
    return str(found)


@contextmanager
def launch(workspace: Workspace, release: Path | None, index: Path, side: TargetKind) -> Iterator[AttackTarget]:
    """Run the service of a side, with a key for each tenant, for the block; store, keys and logs are the attacks' own.

    `release`: its folder, None for the working tree.
    """
    state = workspace.state / FOLDER
    file = state / "keys.json"
    file.unlink(missing_ok=True)
    keys = {
        tenant: add_key(file, tenant or _NOBODY, tenant=tenant, scopes=["chat"], rate=_RATE)
        for tenant in (None, *TENANTS)
    }
    words = ["redteam", "target", "--side", side, "--port", "{port}", "--state", str(state), "--index", str(index)]
    words += ["--release", str(release)] if release else []
    env = {**environment(workspace), VARIABLE: os.fspath(file)}
    spec = ReleaseServiceSpec(release=side, argv=command("sluice", *words), env=env)
    service = ReleaseService(f"redteam-{side}", spec, state=state)
    try:
        service.wait_ready()
        yield AttackTarget(service.url, keys)
        service.require_running()
    finally:
        service.stop()


def find_subject(workspace: Workspace, release: str, url: str, *, working_tree: bool, env: str) -> SystemUnderTest:
    """Return the working tree, the service at `url`, or a release, by default the champion of `env`."""
    if working_tree:
        return SystemUnderTest("working tree", draft(workspace), None)
    if not url:
        folder = find_release(workspace, release, env)[1]
        bundle = open_bundle(folder, workspace)
        return SystemUnderTest(bundle.release, bundle, folder)
    serving = release_at(url)
    if serving == DRAFT:
        here = draft(workspace, make=False)
    else:
        here = open_bundle(find_release(workspace, serving)[1], workspace)
    return SystemUnderTest(f"{serving} at {url}", here, None)
