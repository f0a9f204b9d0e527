"""The `sluice serve`, `sluice rehearse` and `sluice keys` commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from sluice.cli.common import EnvOption, FaultOption, PortOption, find_release, record_of, set_outputs
from sluice.core.errors import CanaryStopped, SluiceError
from sluice.core.workspace import Workspace

keys = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys.")


def serve(
    release: Annotated[Path | None, typer.Option(help="Release folder; default: the champion's.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: PortOption = 8080,
    fault: FaultOption = "",
    env: Annotated[str, typer.Option("--env", help="Search the store of this environment (config/stores.yaml).")] = "",
    live_in: Annotated[str, typer.Option(help="Serve the live release of this environment in the shared record.")] = "",
    keyless: Annotated[
        bool, typer.Option("--keyless", help="Require no API key; works on loopback addresses only.")
    ] = False,
) -> None:
    """Serve one release, after verifying every digest of its manifest.

    With --release, it also works outside a checkout, with an embedded store and without traces. Without API keys
    (`sluice keys add`), it listens on loopback addresses only."""
    from sluice.core.settings import load_settings
    from sluice.release.release_bundle import open_bundle
    from sluice.retrieval.stores import EMBEDDED, Stores
    from sluice.serving.server import serve as run_server
    from sluice.serving.telemetry.settings import SILENT, TelemetrySettings

    if release is not None and not Workspace.around():
        workspace, stores, telemetry = Workspace(Path.cwd()), EMBEDDED.using(env=env), SILENT
        print("not in a checkout: an embedded store in .sluice/, no traces")
    else:
        workspace = Workspace.find()
        stores = load_settings(workspace.config / "stores.yaml", Stores).using(env=env)
        telemetry = load_settings(workspace.config / "telemetry.yaml", TelemetrySettings)
    folder = release or find_release(workspace, "", live_in)[1]
    run_server(
        open_bundle(folder, workspace),
        host,
        port,
        stores=stores,
        state=workspace.state,
        fault=fault or None,
        telemetry=telemetry,
        keyless=keyless,
    )


def rehearse(
    release: Annotated[str, typer.Argument(help="Release id of the canary.")],
    fault: FaultOption = "",
    env: EnvOption = "",
) -> None:
    """Rehearse a release's canary beside the champion, with real processes and load.

    Promotes nothing. With --env, a release that already is the champion passes, because there's nothing to rehearse it
    beside. Output on GitHub: `reason`, if the canary is stopped."""
    from sluice.core.progress import PipelineProgress
    from sluice.jobs.release_job import EXPECTED, run_rehearsal
    from sluice.jobs.release_steps import stable_of
    from sluice.release import champion

    workspace = Workspace.find()
    record = record_of(workspace, env)
    with workspace.exclusive():
        if not env and release == champion.champion_id(record):
            raise SluiceError(f"{release} is the champion itself", remedy="`sluice release list` lists the others")
        canary, _ = find_release(workspace, release, env)
        stable = stable_of(workspace, record, canary)
        if stable is None:
            print(f"{release} is live or the first release of {env}: there is nothing to rehearse it beside")
            return
        pipeline_progress = PipelineProgress({"rehearse": EXPECTED["rehearse"]}, workspace.state / "durations.json")
        result = run_rehearsal(workspace, canary, stable, pipeline_progress=pipeline_progress, fault=fault)
    if result.verdict != "passed":
        set_outputs({"reason": " ".join(f"rehearsal: {result.reason}".split())})
        raise CanaryStopped(f"the canary {release} was stopped: {result.reason}")


@keys.command("add")
def keys_add(
    name: Annotated[str, typer.Argument(help="Name of the key's owner: a-z, 0-9, '.', '_' and '-'.")],
    tenant: Annotated[str, typer.Option(help="Tenant whose documents the key may use, besides the shared ones.")] = "",
    scope: Annotated[
        list[str] | None, typer.Option(help="chat, feedback or metrics; repeatable. Default: chat and feedback.")
    ] = None,
    rate: Annotated[int, typer.Option(help="Requests per minute.")] = 60,
) -> None:
    """Create an API key and print it. It's shown only once; the file keeps only its hash."""
    from sluice.serving.api_keys import add_key, keys_path

    path = keys_path(Workspace.find().state)
    print(add_key(path, name, tenant=tenant or None, scopes=scope or ["chat", "feedback"], rate=rate))
    print(f"{path} holds its hash; a running service takes it within a second", file=sys.stderr)


@keys.command("list")
def keys_list() -> None:
    """List the keys and their permissions, without secrets."""
    from sluice.serving.api_keys import keys_path, read_keys

    for key in read_keys(keys_path(Workspace.find().state)).keys:
        state = f"revoked {key.revoked}" if key.revoked else "in force"
        tenant = key.tenant or "-"
        print(f"{key.name:<20} {key.id}  {tenant:<16} {','.join(key.scopes):<22} {key.rate:>6}/min  {state}")


@keys.command("revoke")
def keys_revoke(name: Annotated[str, typer.Argument(help="Name of the key's owner.")]) -> None:
    """Revoke an API key. A running service rejects it within a second."""
    from sluice.serving.api_keys import keys_path, revoke_key

    revoke_key(keys_path(Workspace.find().state), name)
    print(f"{name} is revoked")
