"""What a fleet of projects as large as this one costs: `.venv/bin/python engine/benchmarks/fleet_seconds.py`.

Fifty bare repositories, each with this repository's files and changes of its own: prompts, metrics, guardrails, tools,
endpoints, overlays, a removed extra in five, an edit of the engine in three, ten of them two versions behind. git is
real, GitHub is played (engine/tests/unit/extras/fleet/fake_fleet.py), so the network is left out. The status is read
with nothing kept of an earlier one, and again; then every project is looked at and upgraded by itself, with nothing
kept either, and the work is processor time of this process and of each git and pip that it starts.

--projects N takes fewer.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "engine" / "tests"))

from figures import show  # noqa: E402 - beside this file

from sluice.core.project import edit_project  # noqa: E402
from sluice.extras.fleet.fleet_file import FleetProject  # noqa: E402
from sluice.extras.fleet.fleet_status import read_status  # noqa: E402
from sluice.extras.fleet.fleet_upgrade import ProjectUpgrade, ProjectUpgrader  # noqa: E402
from sluice.extras.fleet.repository_reader import template_mirror  # noqa: E402
from sluice.extras.upgrade.upgrade_engine import BRANCH  # noqa: E402
from sluice.template.owned import OWNED  # noqa: E402
from unit.extras.fleet.fake_fleet import OWN, FakeFleet, FakeProject, fleet_of  # noqa: E402
from unit.extras.upgrade.conftest import WholeTemplate  # noqa: E402
from unit.github.fake_github import fake_github  # noqa: E402
from unit.template.conftest import commit, git, write  # noqa: E402

NEXT, NEWEST = "98.0.0", "99.0.0"
CODE, MANIFEST, WORKFLOW = (
    "engine/src/sluice/core/digests.py",
    "engine/k8s/base/kustomization.yaml",
    ".github/workflows/ci.yml",
)
SECONDS, MINUTE, REACHED = 10.0, 60.0, 0.96


def release(template: WholeTemplate, version: str) -> None:
    """A version that changes code, a manifest and what lies outside of engine/."""
    changed = {name: (template.root / name).read_text() + f"# {version}\n" for name in (CODE, MANIFEST, "Makefile")}
    workflow = (template.root / WORKFLOW).read_text()
    template.release(version, {**changed, WORKFLOW: f"# {version}\n{workflow}"})


def projects(template: WholeTemplate, versions: list[str], folder: Path, count: int) -> Iterator[FakeProject]:
    """Repositories as GitHub makes them of the template, without its history."""
    works = {}
    for version in versions[:2]:
        works[version] = work = folder / f"work-{version}"
        git(folder, "clone", "--quiet", "--branch", f"v{version}", str(template.root), str(work))
        subprocess.run(["rm", "-r", str(work / ".git")], check=True)
        git(work, "init", "--quiet", "--initial-branch", "main")
        git(work, "add", "--all", "--force")
        commit(work, "Initial commit")
        git(work, "tag", "begin")
    for number in range(count):
        work = works[versions[0 if 5 <= number < 15 else 1]]
        git(work, "reset", "--quiet", "--hard", "begin")
        write(work, {**OWN[number % len(OWN)], f"docs/{number}.md": "ours\n"})
        text = edit_project((work / "config/project.yaml").read_text(), {"name": f"app-{number:02}"})
        if number % 10 == 9:
            text = edit_project(text, {"without": ["notebook"]})
        write(work, {"config/project.yaml": text})
        git(work, "add", "--all")
        if 15 <= number < 18:
            edited = (CODE, MANIFEST, WORKFLOW)[number - 15]
            write(work, {edited: (work / edited).read_text() + "# ours\n"})
        commit(work, "Ours")
        bare = folder / "servers" / f"octo/app-{number:02}.git"
        git(folder, "init", "--quiet", "--bare", "--initial-branch", "main", str(bare))
        (bare / "objects/info/alternates").write_text(f"{work}/.git/objects\n")
        git(work, "push", "--quiet", str(bare), "main")
        yield FakeProject(f"octo/app-{number:02}", bare)


def used() -> float:
    """Seconds of processors that this process and those that it has started took."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent)


def upgrade(upgrader: ProjectUpgrader, project: FleetProject) -> tuple[ProjectUpgrade, float]:
    """What became of a project, and the work of it."""
    began, found = used(), upgrader.look(project)
    if found.state == "to open":
        found = upgrader.open(project)
    return found, used() - began


def touched(project: FakeProject) -> list[str]:
    """Files of the project's own that its upgrade has changed."""
    before, after = project.files("main"), project.files(BRANCH)
    listed = git(project.bare, "show", f"main:{OWNED}").splitlines()
    owned = {line.partition("  ")[2] for line in listed if not line.startswith("#")}
    return [
        path
        for path in before
        if not path.startswith("engine/") and path not in owned and after.get(path) != before[path]
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--projects", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleet-seconds-") as name, fake_github(FakeFleet()) as github:
        assert isinstance(github, FakeFleet)
        folder = Path(name)
        (folder / "template").mkdir()
        template = WholeTemplate(folder / "template")
        versions = [git(template.root, "tag").removeprefix("v"), NEXT, NEWEST]
        for version in versions[1:]:
            release(template, version)
        github.projects |= {one.name: one for one in projects(template, versions, folder, options.projects)}
        environment = github.environment(folder / "servers")
        fleet = fleet_of(github.projects, template.root, max(1, options.projects // 10))
        files = len(next(iter(github.projects.values())).files("main"))

        walls = []
        for _ in range(2):
            began = time.perf_counter()
            status = read_status(fleet, environment, folder / "status")
            walls.append(time.perf_counter() - began)
        faults = [one.fault for one in status.projects if one.fault]

        mirror, _ = template_mirror(fleet, environment, folder / "upgrade")
        upgrader = ProjectUpgrader(mirror, NEWEST, environment, folder / "upgrade")
        done = [upgrade(upgrader, project) for project in fleet.projects]
        opened = [one for one, _ in done if one.state == "waiting"]
        blocked = [one for one, _ in done if one.state == "blocked"]
        own = [path for one in opened for path in touched(github.projects[one.repository])]
    work, share = [seconds for _, seconds in done], len(opened) / len(done)
    found = [
        ("projects, files in each", f"{len(done)}, {files:,}", "", not faults),
        ("status, nothing kept", f"{walls[0]:.1f} s", f"<= {MINUTE:.0f} s", walls[0] <= MINUTE),
        ("status, again", f"{walls[1]:.1f} s", f"<= {MINUTE:.0f} s", walls[1] <= MINUTE),
        ("upgrade of a project, median work", f"{sorted(work)[len(work) // 2]:.1f} s", "", True),
        ("upgrade of a project, most work", f"{max(work):.1f} s", f"<= {SECONDS:.0f} s", max(work) <= SECONDS),
        ("pull requests", f"{len(opened)} of {len(done)}", f">= {REACHED:.0%}", share >= REACHED),
        ("need a person, with an edit of engine/", str(len(blocked)), "<= 2", len(blocked) + len(opened) == len(done)),
        ("changed files of a project's own", str(len(own)), "0", not own),
    ]
    return show(found)


if __name__ == "__main__":
    sys.exit(main())
