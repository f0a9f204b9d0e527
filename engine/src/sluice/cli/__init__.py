"""The command line, `sluice <noun> <verb>`; make targets, pipeline stages and workflow steps call it.

Commands import their dependencies when they run, which keeps `sluice --help` fast."""

from __future__ import annotations

import gc
import os
import signal
import sys
from functools import cache
from pathlib import Path
from typing import Any

import typer
import typer.main

from sluice.cli import (
    ci,
    deployment,
    evaluation,
    index_build,
    project_files,
    release,
    release_steps,  # noqa: F401 - adds its commands to those of `release`
    serving,
)
from sluice.core.errors import SluiceError
from sluice.core.extras import EXTRAS, HERE, extras, load
from sluice.core.processes import die_with_parent, watch_parent
from sluice.core.removed import REMOVED
from sluice.github.workflow_run import without_commands

INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # they may hold keys
    help="Ship LLM applications in small, measured steps.",
)
groups: dict[str, typer.Typer] = {
    "release": release.group,
    "data": project_files.data,
    "index": index_build.group,
    "prompts": project_files.prompts,
    "gates": project_files.gates,
    "canary": deployment.canary,
    "models": project_files.models,
    "keys": serving.keys,
    "manifests": project_files.manifests,
    "params": project_files.params,
    "engine": project_files.engine,
    "ci": ci.group,
    "code": project_files.code,
}
for noun, group in groups.items():
    app.add_typer(group, name=noun)
app.command()(serving.rehearse)
app.command()(serving.serve)
app.command()(deployment.deploy)
app.command()(deployment.rollback)
app.command()(evaluation.evaluate)
app.command("eval")(evaluation.eval_change)
app.command("extras")(project_files.list_extras)


@cache
def command() -> Any:
    """Return all commands, including those of the extras; cached, because Typer would rebuild all of them on each
    call."""
    for name in extras():
        if (HERE / name / "cli.py").is_file():
            load(name, "cli:register")(app, groups)
    return typer.main.get_command(app)


def main() -> int:
    """Run the command line and return the exit code: 0 success, 1 an error to fix or a stopped canary, 3 a failed gate,
    4 hosted answers are pending (extra `hosted`), 130 interrupted."""
    gc.set_threshold(700, 10, 100)  # by default, a seventh of what imports take is looking at all of it again
    die_with_parent()
    watch_parent()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if os.environ.get("PROVIDER_KEYS"):
            from sluice.llm.settings import take_keys

            take_keys(os.environ)
        for words in (2, 3):
            if (name := " ".join(["sluice", *sys.argv[1:words]])) in REMOVED:
                raise SluiceError(f"{name}: this command was removed", remedy=REMOVED[name])
        status = 0 if _stage_is_off(" ".join(sys.argv[1:])) else command()(standalone_mode=False)
    except SluiceError as error:
        print(f"error: {without_commands(str(error))}", file=sys.stderr)
        return error.exit_code
    except typer.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except ModuleNotFoundError as error:
        if (error.name or "sluice").startswith("sluice"):
            raise
        missing = SluiceError(f"the package {error.name} is not installed here", remedy="run `make setup`")
        print(f"error: {missing}", file=sys.stderr)
        return 1
    except Exception as error:
        import click

        if isinstance(error, click.ClickException):
            error.show()
            return error.exit_code
        raise
    if status == INTERRUPTED:  # typer turns Ctrl-C into this value and returns it
        print("interrupted; the next run picks up where this one stopped", file=sys.stderr)
    return status if isinstance(status, int) else 0


def _stage_is_off(words: str) -> bool:
    """Return whether a command is a stage of an extra that is off; DVC wants its files, so they are made, and empty."""
    off = (EXTRAS[name] for name in EXTRAS.keys() - extras().keys())
    files = next((extra.stages[words] for extra in off if words in extra.stages), ())
    for file in map(Path, files):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}\n" if file.suffix == ".json" else "")
    return bool(files)
