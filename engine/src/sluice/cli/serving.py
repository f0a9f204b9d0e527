"""The `sluice serve` and `sluice rehearse` commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sluice.cli.common import EnvOption, FaultOption, PortOption, find_release, record_of, set_outputs
from sluice.core.errors import CanaryStopped, SluiceError
from sluice.core.workspace import Workspace


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
