"""The `sluice try` command."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace

import typer

from sluice.cli.common import PortOption
from sluice.core.workspace import Workspace


def try_prompt(port: PortOption = 8080) -> None:
    """Serve the starter's model on 127.0.0.1 with a chat and an editor of prompts/answer.prompt.yml. Trains nothing.

    It answers from data/corpus, the starter's documents or your own. The editor needs rows in data/eval.jsonl."""
    import webbrowser

    from sluice.core.processes import require_port
    from sluice.core.settings import load_settings
    from sluice.extras.prompt_lab.lab import prompt_lab
    from sluice.release.starter import place
    from sluice.retrieval.stores import Stores
    from sluice.serving.release_parts import draft_adapter, draft_bundle
    from sluice.serving.server import serve as run_server

    began = float(os.environ.get("TRY_BEGAN") or time.time())  # when `make try` did, before it installed anything
    workspace, host = Workspace.find(), "127.0.0.1"

    def say(step: str) -> None:
        print(f"{time.time() - began:4.0f} s  {step}", flush=True)

    def ready() -> None:
        url = f"http://{host}:{port}/{'try' if rows else ''}"
        say(f"{'edit the prompt and chat' if rows else 'chat'} at {url} (Ctrl-C stops it)")
        if not rows:
            print("data/eval.jsonl has no rows yet, so no edit of the prompt can be compared", flush=True)
        print(f"Ready after {time.time() - began:.0f} s. Next: `make release`, about 5 minutes", flush=True)
        if sys.platform == "darwin" or {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

    require_port(port, host)
    say("placing the starter: data, index, adapter, guard model, recorded answers")
    own = place(workspace)
    say("fetching the models, once for all checkouts")
    bundle = draft_bundle(workspace, adapter=draft_adapter(workspace))
    if own:
        say("passages are not checked for attacks: the guard model learns your documents in `make release`")
        passages = tuple(one for one in bundle.guardrails.passages if one.check != "attack")
        bundle = replace(bundle, guardrails=bundle.guardrails.model_copy(update={"passages": passages}))
    say("loading the service")
    stores = load_settings(workspace.config / "stores.yaml", Stores)
    rows = (workspace.data / "eval.jsonl").is_file()
    parts = [prompt_lab(workspace, bundle)] if rows else []
    run_server(bundle, host, port, stores=stores, state=workspace.state, keyless=True, parts=parts, ready=ready)


def register(app: typer.Typer, _: Mapping[str, typer.Typer]) -> None:
    app.command("try")(try_prompt)
