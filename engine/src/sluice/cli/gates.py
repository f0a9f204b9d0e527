"""`sluice gates ...`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sluice.core.workspace import Workspace

group = typer.Typer(no_args_is_help=True, help="The limits of config/gates.yaml.")


@group.command("sync")
def gates_sync() -> None:
    """Write the limits of config/gates.yaml into k8s/base/analysis-limits.yaml, for the analyses in a cluster."""
    from sluice.rollout.analysis_limits import sync

    workspace = Workspace.find()
    out = workspace.root / "k8s" / "base" / "analysis-limits.yaml"
    changed = sync(workspace.config / "gates.yaml", workspace.engine / "k8s" / "analysis", out)
    print(f"wrote {out.relative_to(workspace.root)}" if changed else "nothing changed")


@group.command("judge")
def gates_judge(
    evaluation: Annotated[Path, typer.Argument(help="Folder of an evaluation.")],
    against: Annotated[Path, typer.Option(help="Folder of the evaluation of what is live, on the same cases.")],
    out: Annotated[Path, typer.Option(help="File for the verdicts.")],
) -> None:
    """Let the gates and the comparison with what is live judge an evaluation. A refusal is a result: exit code 0."""
    from sluice.core.atomic_files import write_json
    from sluice.release.decision import decide_release

    verdicts = decide_release(Workspace.find().config / "gates.yaml", evaluation, against)
    refused = [verdict.gate for verdict in verdicts if not verdict.passed]
    record = {
        "passed": bool(verdicts) and not refused,
        "refused_by": ", ".join(refused),
        "verdicts": [verdict.model_dump(mode="json") for verdict in verdicts],
    }
    write_json(out, record)
    print(f"refused by {record['refused_by']}" if refused else "every gate passed")
