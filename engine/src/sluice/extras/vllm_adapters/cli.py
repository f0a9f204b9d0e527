"""The `sluice adapters` commands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from sluice.core.workspace import Workspace

group = typer.Typer(no_args_is_help=True, help="Register the adapters of releases at a running vLLM.")
VllmOption = Annotated[str, typer.Option("--vllm", help="URL of vLLM, without /v1.")]
_VLLM = "http://127.0.0.1:8000"


@group.command("load")
def adapters_load(
    folder: Annotated[Path, typer.Argument(help="Folder for adapters; vLLM reads it under the same path.")],
    artefacts: Annotated[
        str, typer.Option(help="Artifact store with the releases.", envvar="SLUICE_ARTEFACTS", show_default=False)
    ],
    vllm: VllmOption = _VLLM,
    releases: Annotated[
        Path | None, typer.Option(help="Folder of the active releases; default: the ReplicaSets of this pod.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8001,
    every: Annotated[float, typer.Option(help="Seconds between passes.")] = 2,
    keep: Annotated[float, typer.Option(help="Seconds to keep an adapter after its release is gone.")] = 300,
) -> None:
    """Keep vLLM's adapters in sync with the active releases, until SIGTERM.

    Verifies each file against release.json first. /readyz reports if vLLM has all the adapters it must have."""
    from sluice.extras.vllm_adapters.adapter_loader import AdapterLoader, in_cluster, in_folder
    from sluice.extras.vllm_adapters.loader_service import run_loader
    from sluice.extras.vllm_adapters.vllm_server import VllmServer
    from sluice.release.artifact_store import open_artifact_store

    living = in_folder(releases) if releases else in_cluster()
    store = open_artifact_store(artefacts)
    loader = AdapterLoader(living, VllmServer(vllm), store, folder.absolute(), keep_seconds=keep)
    run_loader(loader, host, port, every=every)


@group.command("await")
def adapters_await(
    release: Annotated[Path, typer.Argument(help="Folder of the release.")],
    loaders: Annotated[str, typer.Option(help="URL of the loaders; its host name resolves to all of them.")],
    seconds: Annotated[float, typer.Option(help="Maximum seconds to wait.")] = 300,
) -> None:
    """Wait until every vLLM has the adapter of a release; return at once if the release uses no vLLM."""
    from sluice.extras.vllm_adapters.loader_service import await_adapter

    print(await_adapter(release, loaders, seconds=seconds, show=print))


@group.command("register")
def adapters_register(
    release: Annotated[str, typer.Argument(help="Release id; default: the adapter that the working tree has.")] = "",
    vllm: VllmOption = _VLLM,
) -> None:
    """Register one adapter at a vLLM that sees this folder, for `sluice evaluate` and `sluice serve`."""
    from sluice.extras.vllm_adapters.vllm_server import VllmServer, register_draft, register_release

    workspace, server = Workspace.find(), VllmServer(vllm)
    name = register_release(workspace, release, server) if release else register_draft(workspace, server)
    print(f"{name} is registered at {server.url}")


def register(app: typer.Typer, _: Mapping[str, typer.Typer]) -> None:
    app.add_typer(group, name="adapters")
