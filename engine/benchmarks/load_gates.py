"""How sharp the load stage is on this machine: how often it would stop a canary that is no worse, and what it notices.

    .venv/bin/python engine/benchmarks/load_gates.py [minutes at each weight, default 4]

Needs a champion (`make release`). The champion runs twice, as stable and as canary, through the real router and the
real load stage, at 10 and at 50 %. From the pairs of probes that were measured, stages are drawn again and again, as
many pairs as the gate asks for, in runs of four neighbours so that busy moments stay together. Prints a Markdown table.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from sluice.core.workspace import Workspace
from sluice.jobs.dvc_pipeline import command, environment
from sluice.rehearsal.analysis_runs import JobFiles, JobTargets, run_load
from sluice.rehearsal.services import ReleaseService, ReleaseServiceSpec, TraefikRouter
from sluice.release import champion
from sluice.release.environment_record import here
from sluice.release.gates import Gate, load_gates
from sluice.rollout.analysis_templates import LoadParameters

DRAWS, TOGETHER = 10_000, 4
WEIGHTS = (10, 50)
SLOWER = (1.0, 1.25, 1.5, 2.0, 3.0)


def main(minutes: float) -> int:
    workspace = Workspace.find()
    live = champion.champion(workspace, here(workspace))
    if live is None:
        sys.exit("there is no champion: run `make release` first")
    gate = next(g for g in load_gates(workspace.config / "gates.yaml") if g.metric == "total_slowdown")
    argv = command("sluice", "serve", "--release", str(workspace.releases / live.id), "--port", "{port}")
    spec = ReleaseServiceSpec(release=live.id, argv=argv, env=environment(workspace))
    print(f"| weight | pairs | median canary / stable | {' | '.join(f'stopped at {s:g}x' for s in SLOWER)} |")
    print("|---" * (3 + len(SLOWER)) + "|", flush=True)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as started:
        state = Path(folder)
        services = []
        for role in ("stable", "canary"):
            service = ReleaseService(role, spec, state=state)
            started.callback(service.stop)
            service.wait_ready()
            services.append(service)
        locustfile = workspace.root / "loadtest" / "locustfile.py"
        files = JobFiles(workspace.config / "gates.yaml", workspace.data / "eval.jsonl", locustfile, state)
        router = started.enter_context(TraefikRouter(stable=services[0].url, canary=services[1].url, state=state))
        for weight in WEIGHTS:
            router.set_weight(weight)
            report = run_load(
                LoadParameters(users=2, seconds=60 * minutes, shape="steady", answer_timeout_s=20.0),
                JobTargets(router=router.url, canary=services[1].url, stable=services[0].url),
                files,
                name=f"load-{weight}",
            )
            ratios = [canary / stable for stable, canary in report.pairs]
            shares = " | ".join(f"{stopped(ratios, slower, gate):.1%}" for slower in SLOWER)
            print(f"| {weight} % | {len(ratios)} | {statistics.median(ratios):.2f} | {shares} |", flush=True)
    return 0


def stopped(ratios: list[float], slower: float, gate: Gate) -> float:
    """Share of drawn stages that the gate stops when every answer of the canary takes `slower` times as long."""
    chance = random.Random(1)
    failed = 0
    for _ in range(DRAWS):
        drawn: list[float] = []
        while len(drawn) < gate.min_samples:
            start = chance.randrange(len(ratios) - TOGETHER + 1)
            drawn += ratios[start : start + TOGETHER]
        failed += statistics.median(drawn) * slower > gate.limit
    return failed / DRAWS


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 4.0))
