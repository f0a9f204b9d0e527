"""The steps of release.yml as commands. The pipeline, MLflow and GitHub are played; record and artifact store are
real."""

import json
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sluice import cli
from sluice.core import git
from sluice.core.extras import hooks
from sluice.core.workspace import Workspace
from sluice.jobs import release_steps as delivery
from sluice.release import catalogue, champion, environment_record, mlflow_registry, staging
from sluice.release.environment_record import EnvironmentRecord, open_record, shared_artifact_store
from sluice.release.manifest import Images, Manifest, load_judgement
from support.git import commit_all
from support.git import git as run_git
from unit.github.fake_github import FakeGitHub, actions_environment
from unit.release.conftest import Later, small_models, verdict, workspace, write_evaluation

__all__ = ["small_models", "workspace"]

ENV = ("--env", "production")


@dataclass
class Road:
    """A checkout on GitHub's machines. `made` counts pipeline runs; `refuse`: a gate says no."""

    workspace: Workspace
    github: FakeGitHub
    environment: dict[str, str]
    aliases: dict[str, str] = field(default_factory=dict)
    made: int = 0
    refuse: bool = False

    def run(self, *words: str) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["sluice", *words])
            return cli.main()

    def outputs(self) -> dict[str, str]:
        text = Path(self.environment["GITHUB_OUTPUT"]).read_text()
        return dict(line.split("=", 1) for line in text.splitlines())

    def record(self, name: str = "production") -> EnvironmentRecord:
        return open_record(self.workspace, name, self.environment)

    def events(self, name: str = "production") -> list[tuple[str, str]]:
        return [(event.event, event.id) for event in self.record(name).history()]

    def commit(self, name: str, text: str) -> str:
        path = self.workspace.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return commit_all(self.workspace.root)

    def fresh(self) -> None:
        shutil.rmtree(self.workspace.state, ignore_errors=True)

    def whole(self) -> None:
        self.fresh()
        if self.run("release", "stage", *ENV) == 3:
            return
        release = self.outputs()["release"]
        for words in (("release", "promote", release, *ENV), ("release", "publish", release, *ENV)):
            self.fresh()
            assert self.run(*words) == 0

    def stopped(self) -> None:
        self.fresh()
        assert self.run("release", "stage", *ENV) == 0
        self.fresh()
        assert self.run("release", "conclude", self.outputs()["release"], *ENV, "--reason", "too slow", "--issue") == 0

    def state(self) -> Any:
        """Return what outlives the machines, without times and the numbers that GitHub gives."""
        events = [(e.event, e.id, e.commit, e.reason) for e in self.record().history()]
        made = [
            (e.id, e.commit, e.baseline, e.making) for e in catalogue.newest(shared_artifact_store(self.environment))
        ]
        releases = [
            (one["tag_name"], one["draft"], one["body"], sorted(file["name"] for file in one["assets"]))
            for one in self.github.releases.by_id.values()
        ]
        issues = [(one["title"], one["body"], one["state"]) for one in self.github.issues.values()]
        return events, made, releases, issues, self.aliases


@pytest.fixture
def road(
    workspace: Workspace,
    small_models: None,  # noqa: ARG001
    in_process: None,  # noqa: ARG001
    github: FakeGitHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Road:
    (workspace.root / ".gitignore").write_text(".sluice/\nbuild/\n")
    run_git(workspace.root, "init", "--quiet", "-b", "main")
    commit_all(workspace.root)
    environment = actions_environment(github, tmp_path) | {
        "SLUICE_ARTEFACTS": str(tmp_path / "place"),
        "GITHUB_OUTPUT": str(tmp_path / "outputs"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        "GITHUB_SERVER_URL": "https://github.invalid",
        "GITHUB_ACTOR": "octocat",
        "GITHUB_EVENT_NAME": "push",
    }
    (tmp_path / "outputs").touch()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(workspace.root)
    made = Road(workspace, github, environment)

    def create(**changed: Any) -> tuple[Manifest, Path]:
        root = git.commit(workspace.root)
        return staging.create(workspace, commit=root, data_digest="e" * 32, **changed)

    def baseline(*_: Any) -> tuple[Manifest, Path]:
        out = write_evaluation(workspace.build / "baseline", f1=0.1)
        return create(evaluation=out, verdicts=[], parent=None, adapter=None)

    def candidate(_: Workspace, __: Any, live: Manifest, *, images: Images) -> tuple[Manifest, Path]:
        assert (workspace.releases / live.id / "evaluation" / "cases.jsonl").is_file()
        made.made += 1
        judged = verdict(passed=not made.refuse, reason="gate f1_holds: f1 is 0.1")
        adapter = workspace.build / "adapter" / "adapter.gguf"
        evaluation = workspace.build / "evaluation"
        return create(evaluation=evaluation, verdicts=[judged], parent=live.id, adapter=adapter, images=images)

    monkeypatch.setattr(delivery, "run_pipeline", lambda *_: None)

    def report(folder: Path) -> None:
        (folder / "report.html").write_text("the cases")
        for follow in hooks("release_written").values():
            follow(folder)

    monkeypatch.setattr(delivery, "write_report", report)
    monkeypatch.setattr(delivery, "make_baseline", baseline)
    monkeypatch.setattr(delivery, "make_candidate", candidate)
    monkeypatch.setattr(mlflow_registry, "promote_aliases", lambda _, one, alias: made.aliases.update({alias: one.id}))
    return made


def test_a_refused_gate_is_exit_code_3_is_noted_once_and_changes_nothing_else(road: Road) -> None:
    road.whole()
    live = road.outputs()["release"]
    road.refuse = True
    road.commit("config/service.yaml", "decline: Nobody knows.\n")
    for _ in range(2):
        road.fresh()
        assert road.run("release", "stage", *ENV) == 3
    outputs = road.outputs()
    assert outputs["verdict"] == "refused"
    assert road.events()[2:] == [("rejected", outputs["release"])]
    assert road.aliases == {"champion": live}
    assert road.run("release", "promote", outputs["release"], *ENV) == 3
    assert road.aliases == {"champion": live}
    assert "gate f1_holds: f1 is 0.1" in Path(road.environment["GITHUB_STEP_SUMMARY"]).read_text()


def test_only_what_makes_or_deploys_a_release_is_a_reason(road: Road, capsys: pytest.CaptureFixture[str]) -> None:
    road.whole()
    for name in ("docs/page.md", "engine/src/sluice/x.py", "k8s/base/rollout.yaml"):
        made = "false" if name == "docs/page.md" else "true"
        road.commit(name, "words")
        assert road.run("release", "plan", *ENV) == 0
        assert road.outputs()["make"] == made
        said = "Nothing to release: nothing that a release is made of or deployed by has changed"
        assert (said in capsys.readouterr().out) == (made == "false")
        (road.workspace.root / name).unlink()


def test_an_older_commit_releases_nothing_when_a_later_one_was_decided(road: Road) -> None:
    old = git.commit(road.workspace.root)
    road.commit("config/service.yaml", "decline: Nobody knows.\n")
    road.whole()
    run_git(road.workspace.root, "checkout", "--quiet", old)
    found = delivery.plan(road.workspace, road.record())
    assert (found.make, "came after this commit" in found.reason) == (False, True)


REFUSED = {"state": "rejected", "comment": "not today", "user": {"login": "octocat"}, "environments": []}
BEGAN, UNBEGUN = ({"production / deploy": one} for one in (7, None))


@pytest.mark.parametrize(
    ("needs", "runners", "reviews", "end"),
    [
        ({"rehearse": {"result": "cancelled"}, "production": {"result": "skipped"}}, {}, [], "rehearse: cancelled"),
        ({"production": {"result": "failure", "outputs": {"cluster": "false"}}}, BEGAN, [], "nothing was deployed"),
        ({"production": {"result": "failure"}}, UNBEGUN, [REFUSED], "octocat refused the deployment: not today"),
        ({"production": {"result": "cancelled"}}, UNBEGUN, [], "never began"),
        ({"production": {"result": "failure"}}, BEGAN, [REFUSED], ""),  # by an earlier attempt
        ({"production": {"result": "cancelled"}}, None, [], ""),  # GitHub gives no answer
    ],
)
def test_the_end_is_unknown_only_where_a_deployment_began(
    road: Road, needs: Any, runners: dict[str, int | None] | None, reviews: list[Any], end: str
) -> None:
    assert road.run("release", "stage", *ENV) == 0
    if runners is not None:
        jobs = [{"name": name, "runner_id": runner} for name, runner in runners.items()]
        road.github.more = {"/actions/runs/500/attempts/1/jobs": {"jobs": jobs}, "/runs/500/approvals": reviews}
    release = road.outputs()["release"]
    assert road.run("release", "conclude", release, *ENV, "--needs", json.dumps(needs)) == 0
    event = road.record().history()[-1]
    assert (event.event, event.id) == ("rejected" if end else "unknown", release)
    assert end in event.reason


def test_a_release_that_others_have_passed_is_not_deployed(road: Road, capsys: pytest.CaptureFixture[str]) -> None:
    road.stopped()
    passed = road.outputs()["release"]
    verify = ("release", "verify", passed, "--judged-in", "production")
    assert road.run(*verify) == 0
    road.commit("config/service.yaml", "decline: Nobody knows.\n")
    road.whole()
    live = road.outputs()["release"]
    assert road.run(*verify) == 1
    assert f"but {live} is live in production: stage it again" in capsys.readouterr().out
    assert road.run("release", "verify", live, "--judged-in", "production") == 0


def test_a_rerun_revives_none(road: Road, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    road.whole()
    first = road.outputs()["release"]
    road.commit("config/service.yaml", "decline: Nobody knows.\n")
    road.fresh()
    road.run("release", "stage", *ENV)
    second = road.outputs()["release"]
    assert road.run("release", "promote", second, *ENV) == 0
    monkeypatch.setattr(environment_record, "datetime", Later)
    assert road.run("release", "rollback", "previous", *ENV) == 0
    before = road.state()
    for words in (
        ("release", "verify", second, "--judged-in", "production"),
        ("release", "promote", second, *ENV),
        ("release", "publish", second, *ENV),
    ):
        road.fresh()
        assert road.run(*words) == {"verify": 1, "promote": 3, "publish": 0}[words[1]]
    said = capsys.readouterr()
    assert said.out.count(f"was rolled back to {first} after it was made") == 1
    assert said.err.count(f"was rolled back to {first} after it was made") == 2  # verify says it as a fault, too
    assert f"{second} is not live in production: nothing is published" in said.out
    assert road.state() == before


def test_run_again_a_commit_is_not_made_again(road: Road) -> None:
    road.whole()
    road.whole()
    assert road.made == 1
    assert road.run("release", "plan", *ENV) == 0
    assert road.outputs()["make"] == "true"  # all jobs of the same run: each finds its work done


def test_a_commit_is_judged_anew_when_the_champion_has_changed(road: Road) -> None:
    road.whole()
    baseline = load_judgement(road.workspace.releases / road.outputs()["release"]).parent
    assert baseline is not None
    road.commit("config/service.yaml", "decline: Nobody knows.\n")
    road.fresh()
    road.run("release", "stage", *ENV)
    second = road.outputs()["release"]
    champion.promote(road.workspace, road.record(), baseline, commit="f" * 40)
    road.fresh()
    road.run("release", "stage", *ENV)
    assert (road.made, road.outputs()["release"]) == (3, second), "the same content"
    assert load_judgement(road.workspace.releases / second).parent == baseline


def test_what_was_gone_back_from_does_not_return_by_running_its_commit_again(road: Road) -> None:
    road.whole()
    first = road.outputs()["release"]
    road.commit("config/service.yaml", "decline: Nobody knows.\n")
    road.whole()
    road.run("release", "rollback", "previous", *ENV)
    road.whole()
    assert road.outputs()["release"] == first
    assert road.aliases == {"champion": first}


def test_a_change_of_the_cluster_alone_deploys_the_champion_anew(road: Road) -> None:
    road.whole()
    release = road.outputs()["release"]
    commit = road.commit("k8s/base/rollout.yaml", "kind: Rollout")
    road.whole()
    assert road.outputs()["release"] == release
    assert road.made == 1
    assert len(road.github.releases.by_id) == 1
    event = road.record().champion()
    assert event is not None
    assert (event.id, event.commit) == (release, commit)


def test_a_first_candidate_is_rehearsed_beside_the_untouched_model(road: Road) -> None:
    road.fresh()
    manifest, _ = delivery.stage(road.workspace, road.record())
    road.fresh()
    stable = delivery.stable_of(road.workspace, road.record(), manifest)
    assert stable is not None
    assert (stable.id, stable.adapter) == (load_judgement(road.workspace.releases / manifest.id).parent, None)
    champion.promote(road.workspace, road.record(), manifest.id)
    assert delivery.stable_of(road.workspace, road.record(), manifest) is None


def test_the_record_is_shown(road: Road, capsys: pytest.CaptureFixture[str]) -> None:
    road.whole()
    release = road.outputs()["release"]
    capsys.readouterr()
    assert road.run("release", "list", *ENV) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[0] for line in lines] == [" ", "*"]
    assert lines[1].endswith(f"promoted      {release}  every canary step held  (octocat)")
    road.fresh()
    assert road.run("release", "show", *ENV) == 0
    assert f'"id": "{release}"' in capsys.readouterr().out
    assert road.run("release", "verify", release) == 0
    out = capsys.readouterr().out
    assert "folder: verified: " in out
    assert "artifact store: verified: " in out
