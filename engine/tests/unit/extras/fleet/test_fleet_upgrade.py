from collections.abc import Callable

import pytest

from sluice import cli
from sluice.core.errors import SluiceError
from sluice.core.workspace import LOCK
from sluice.extras.fleet import fleet_upgrade
from sluice.extras.fleet.fleet_status import read_status
from sluice.extras.fleet.fleet_upgrade import FleetUpgrade, advance
from sluice.extras.pull_requests.comment_verdict import CommentVerdict, WorseMetric
from sluice.extras.upgrade.engine_wheel import pack
from sluice.extras.upgrade.held_engine import install
from sluice.extras.upgrade.upgrade_engine import BRANCH
from sluice.template.owned import ENGINE
from support.git import git
from unit.extras.fleet.fake_fleet import CI, EDITS, MANIFEST, METRIC, FakeFleet, FakeProject, Fleet
from unit.github.fake_github import APP, LOGINS
from unit.template.conftest import commit, write


def comment(project: FakeProject, verdict: str, *, passed: bool, worse: tuple[WorseMetric, ...] = ()) -> str:
    said = CommentVerdict(head=project.proposed(project.pulls[-1]), verdict=verdict, passed=passed, worse=worse)
    return f"<!-- sluice:comparison run=7.1 -->\n## {verdict}\n\n{said.line()}\n\nThe rest.\n"


def play(github: FakeFleet, *, lowers_f1: bool = False) -> None:
    """End every run of CI; projects that condense questions find that a version lowers F1."""
    for project in github.projects.values():
        if not project.pulls or project.pulls[-1]["state"] != "open":
            continue
        if lowers_f1 and project.condenses:
            worse = (WorseMetric(name="f1", base=0.71, head=0.62),)
            project.judge("failure", comment=comment(project, "worse", passed=False, worse=worse))
        else:
            project.judge("success", comment=comment(project, "no difference seen", passed=True))


class Passes:
    def __init__(self, fleet: Fleet, first: int = 5, **rules: object) -> None:
        self.folder, self.environment, self.fleet = fleet.folder, fleet.environment, fleet.file(first, **rules)

    def __call__(self, kept: str = "kept", **options: object) -> FleetUpgrade:
        return advance(self.fleet, self.environment, self.folder / kept, **options)  # type: ignore[arg-type]


def states(found: FleetUpgrade) -> dict[str, int]:
    listed = [one.state for one in found.projects]
    return {state: listed.count(state) for state in sorted(set(listed))}


@pytest.fixture
def ten(fleet: Fleet) -> Fleet:
    fleet.github.projects |= {made.name: made for made in fleet.factory.ten()}
    return fleet


def test_a_good_version_reaches_every_project_and_touches_nothing_of_theirs(ten: Fleet) -> None:
    run = Passes(ten, first=1)
    before = {name: project.files("main") for name, project in ten.github.projects.items()}
    rings = []
    for _ in range(4):
        rings.append((found := run()).ring)
        play(ten.github)
    assert rings == ["first", "early", "rest", ""]
    assert states(found) == {"blocked": 2, "not worse": 8}
    assert sum(len(project.pulls) for project in ten.github.projects.values()) == 8
    said = found.text()
    opened = [(name, project) for name, project in ten.github.projects.items() if project.pulls]
    for name, project in opened:
        after = project.files(BRANCH)
        theirs = {path for path in before[name] if not path.startswith(ENGINE) and path not in (CI, "Makefile")}
        assert {path: after[path] for path in theirs} == {path: before[name][path] for path in theirs}, name
        assert set(after) - set(before[name]) == set(), name
        assert git(project.bare, "show", f"{BRANCH}:{METRIC}") == "A = 3"
        assert git(project.bare, "rev-parse", f"{BRANCH}^") == project.head
    assert ".github/workflows/own.yml" in ten.github.projects["octo/app-6"].files(BRANCH)
    assert "without: [notebook]" in git(ten.github.projects["octo/app-4"].bare, "show", f"{BRANCH}:config/project.yaml")
    # The three that edit the engine, each with what to use in place of the edit.
    assert f"{METRIC}: changed; write a metric in src/assistant/metrics/ with @metric" in said
    assert f"{MANIFEST}: changed; patch it in k8s/overlays/" in said
    fix = "changed; write a workflow of your own beside it, or adopt this one"
    assert f"- octo/app-9: no difference seen; {CI}: {fix}" in said, "also after it was opened"
    assert {name for name in ten.github.projects if name not in dict(opened)} == {"octo/app-7", "octo/app-8"}
    merged = git(ten.github.projects["octo/app-9"].bare, "show", f"{BRANCH}:{CI}").splitlines()
    assert (merged[1], merged[18]) == ("third", "mine"), "the edit beside the template's own change"
    assert CI in ten.github.projects["octo/app-9"].pulls[0]["body"]


def test_a_version_that_lowers_f1_of_those_that_condense_is_stopped_in_the_first_ring(ten: Fleet) -> None:
    run = Passes(ten, first=4, first_ring_percent=40)
    assert any(ten.github.projects[one.repository].condenses for one in run.fleet.ring("first"))
    run()
    play(ten.github, lowers_f1=True)
    for _ in range(3):
        found = run()
        play(ten.github, lowers_f1=True)
    assert (found.stopped, found.ring) == (True, "first")
    asked = [project for project in ten.github.projects.values() if project.pulls]
    assert len(asked) <= 0.4 * len(ten.github.projects)
    assert not [project for project in asked if project.files("main") == project.files(BRANCH)], "none has released it"
    assert len(ten.github.issues) == 1, "one issue, though it was asked three times"
    (issue,) = ten.github.issues.values()
    assert issue["user"]["login"] == LOGINS[APP], "an App is not github-actions[bot], and finds its own again"
    assert not [project for project in asked if "Approve workflows to run" in project.pulls[0]["body"]]
    assert issue["title"] == "Template 0.3.0 stops: worse: f1 0.71 -> 0.62 in octo/app-3"
    tag = git(ten.factory.template.root, "rev-parse", "v0.3.0^{commit}")
    assert tag in issue["body"]
    assert "| `octo/app-3` | `worse: f1 0.71 -> 0.62` | `https://github.invalid/octo/app-3/pull/1` |" in issue["body"]
    assert "4 of 10 projects were asked" in issue["body"]


def test_the_issue_closes_and_the_upgrade_goes_on_when_nothing_is_worse_any_more(fleet: Fleet) -> None:
    fleet.small(4)
    fleet.github.projects["octo/app-0"].condenses = True
    run = Passes(fleet, first=1)
    run()
    play(fleet.github, lowers_f1=True)
    assert run().stopped
    play(fleet.github)
    assert run().ring == "early"
    assert [issue["state"] for issue in fleet.github.issues.values()] == ["closed"]


Writes = Callable[[int | None], list[str]]


class _Killed(BaseException):
    """Stands for a signal: no handler of errors catches it."""


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Writes:
    """Die before the nth write to GitHub; return the writes before it."""
    done: list[str] = []
    left: list[int | None] = [None]

    def dying(name: str) -> Callable[..., object]:
        write = getattr(fleet_upgrade, name)

        def call(*words: object, **more: object) -> object:
            if left[0] is not None and len(done) >= left[0]:
                raise _Killed
            done.append(name)
            return write(*words, **more)

        return call

    for name in ("upsert_issue", "push", "upsert_pull"):
        monkeypatch.setattr(fleet_upgrade, name, dying(name))

    def begin(limit: int | None) -> list[str]:
        done.clear()
        left[0] = limit
        return done

    return begin


def test_killed_before_each_write_the_next_run_ends_as_an_unbroken_one(fleet: Fleet, writes: Writes) -> None:
    """Several projects at once, where a kill may leave most behind."""
    fleet.small(3)
    run = Passes(fleet, first=1)

    def finished() -> dict[str, object]:
        return {
            name: (
                git(project.bare, "for-each-ref"),
                [(one["title"], one["body"], one["state"]) for one in project.pulls],
            )
            for name, project in fleet.github.projects.items()
        }

    def reset() -> None:
        for project in fleet.github.projects.values():
            project.pulls.clear()
            project.checks.clear()
            if BRANCH in git(project.bare, "for-each-ref"):
                git(project.bare, "update-ref", "-d", f"refs/heads/{BRANCH}")
        fleet.github.issues.clear()

    done = writes(None)
    run(skip="CVE-2026-1")
    wanted, steps = finished(), len(done)
    assert steps == 7, "the issue that records why, a push and a pull request of each"
    for step in range(0, steps, 2):
        reset()
        writes(step)
        with pytest.raises(_Killed):
            run(skip="CVE-2026-1")
        done = writes(None)
        run(skip="CVE-2026-1")
        assert finished() == wanted, step
        assert len(fleet.github.issues) == 1
        assert done.count("upsert_pull") <= 3
        assert all(len(project.pulls) == 1 for project in fleet.github.projects.values()), "none twice"


def test_each_verdict(fleet: Fleet) -> None:
    fleet.small(1)
    (project,) = fleet.github.projects.values()
    run = Passes(fleet)
    assert states(run()) == {"waiting": 1}
    for conclusion, verdict, passed, state in (
        (None, "", True, "waiting"),
        ("cancelled", "", True, "waiting"),
        ("success", "improved", True, "not worse"),
        ("success", "", True, "not worse"),
        ("success", "worse", False, "worse"),
        ("failure", "too few cases", False, "worse"),
        ("failure", "improved", True, "worse"),
        ("skipped", "", True, "worse"),
    ):
        project.comments.clear()
        project.judge(conclusion, comment=comment(project, verdict, passed=passed) if verdict else "")
        assert states(run()) == {state: 1}, (conclusion, verdict)


def test_only_the_check_of_actions_and_the_comment_of_the_engine_count(fleet: Fleet) -> None:
    fleet.small(1)
    (project,) = fleet.github.projects.values()
    run = Passes(fleet)
    run()
    project.judge("success")
    (check,) = project.checks[project.proposed(project.pulls[0])]
    check["app"] = {"slug": "somebody-elses"}
    assert states(run()) == {"waiting": 1}
    worse = comment(project, "worse", passed=False)
    project.judge("success", comment=worse)
    project.comments[1][0]["user"]["login"] = "mallory"
    assert states(run()) == {"not worse": 1}


def test_what_a_person_does_with_a_pull_request_stays(fleet: Fleet) -> None:
    fleet.small(3)
    names = list(fleet.github.projects)
    run = Passes(fleet, first=3, first_ring_percent=100)
    run()
    projects = [fleet.github.projects[name] for name in names]
    projects[0].pulls[0]["state"] = "closed"
    git(projects[1].bare, "update-ref", "refs/heads/main", git(projects[1].bare, "rev-parse", BRANCH))
    projects[1].pulls[0].update(state="closed", merged_at="2026-11-28T10:00:00Z")
    play(fleet.github)
    found = {one.repository: one for one in run().projects}
    assert (found[names[0]].state, found[names[0]].reason) == ("blocked", "closed by a person")
    assert found[names[1]].state == "upgraded"
    assert [len(project.pulls) for project in projects] == [1] * 3


def test_trouble_is_a_line_and_holds_the_next_ring_back(fleet: Fleet) -> None:
    fleet.small(5)
    one, two, three, four = list(fleet.github.projects.values())[:4]
    one.status = 500
    two.facts["archived"] = True
    hook = three.bare / "hooks" / "pre-receive"
    write(three.bare, {"hooks/pre-receive": "#!/bin/sh\necho 'GH013: Repository rule violations found' >&2\nexit 1\n"})
    hook.chmod(0o755)
    run = Passes(fleet, first=4, first_ring_percent=80)
    found = run()
    by_name = {each.repository: each for each in found.projects}
    assert (by_name[one.name].state, by_name[one.name].reason) == ("unknown", "GitHub answers 500: planned 500")
    assert (by_name[two.name].state, by_name[two.name].reason) == ("blocked", "archived")
    assert by_name[three.name].state == "unknown"
    assert "push" in by_name[three.name].reason
    assert by_name[four.name].state == "waiting"
    play(fleet.github)
    assert run().ring == "first", "what is not known is not `not worse`"
    one.status = 0
    hook.unlink()
    run()
    play(fleet.github)
    assert run().ring == "early"


def test_a_repository_that_was_renamed_is_upgraded_by_its_new_name(fleet: Fleet) -> None:
    """PyGithub follows the redirect without the query: everybody's pull requests and checks would be taken for ours."""
    made = fleet.factory.make("octo/new", "0.2.0", {})
    fleet.github.projects = {"octo/old": FakeProject("octo/old", made.bare, {"moved_to": "octo/new"})}
    run = Passes(fleet)
    fleet.github.projects["octo/new"] = made
    assert states(run()) == {"waiting": 1}
    made.pulls.append({**made.pulls[0], "number": 2, "head": "other", "html_url": "https://github.invalid/other"})
    git(made.bare, "update-ref", "refs/heads/other", made.head)
    made.pulls.reverse()
    assert [one.pull for one in run().projects] == ["https://github.invalid/octo/new/pull/1"]


def test_a_ring_that_could_not_take_it_proves_nothing(fleet: Fleet) -> None:
    fleet.small(3)
    fleet.github.projects["octo/app-0"].facts["archived"] = True
    run = Passes(fleet, first=1)
    found = run()
    assert (found.ring, found.stopped, states(found)) == ("first", False, {"blocked": 1, "later": 2})


def test_a_security_fix_skips_rings_by_a_reason_that_is_recorded(fleet: Fleet) -> None:
    fleet.small(3)
    run = Passes(fleet, first=1)
    run.environment["GITHUB_ACTOR"] = "octocat"
    assert states(run(skip="CVE-2026-1 | @octo")) == {"waiting": 3}
    (issue,) = fleet.github.issues.values()
    assert issue["title"] == "Template 0.3.0 skips rings"
    assert "`CVE-2026-1 ¦ @octo`, by `octocat`" in issue["body"]
    bodies = [project.pulls[0]["body"] for project in fleet.github.projects.values()]
    assert all("`CVE-2026-1 ¦ @octo`, by `octocat`" in body for body in bodies)


def test_a_dry_run_writes_nothing_and_names_every_edit(fleet: Fleet) -> None:
    fleet.small(3)
    fleet.github.projects["octo/edits"] = fleet.factory.make("octo/edits", "0.2.0", EDITS[0])
    run = Passes(fleet, first=1)
    found = run(dry_run=True)
    assert states(found) == {"blocked": 1, "to open": 3}
    assert "write a metric in src/assistant/metrics/" in found.text()
    assert {method for method, _ in fleet.github.asked} == {"GET"}
    assert not [one for one in fleet.github.projects.values() if BRANCH in git(one.bare, "for-each-ref")]


def test_what_is_not_there_is_an_error_before_anything_is_written(fleet: Fleet) -> None:
    fleet.small(1)
    run = Passes(fleet)
    with pytest.raises(SluiceError, match=r"no version 9\.9\.9(.|\n)*0\.1\.0, 0\.2\.0, 0\.3\.0"):
        run(version="9.9.9")
    del run.environment["GITHUB_REPOSITORY"]
    with pytest.raises(SluiceError, match="GITHUB_REPOSITORY is not set"):
        run()
    assert not fleet.github.projects["octo/app-0"].pulls


def test_the_command_reports_and_fails_where_it_stops(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.small(2)
    fleet.github.projects["octo/app-1"].condenses = True
    run = Passes(fleet, first=1)
    fleet.enter(monkeypatch, run.fleet)
    command = ["fleet", "upgrade"]
    for _ in range(2):  # a ring at a time
        cli.command()(command, standalone_mode=False)
        play(fleet.github, lowers_f1=True)
    with pytest.raises(SluiceError, match=r"template 0\.3\.0: stopped in ring early"):
        cli.command()(command, standalone_mode=False)
    said = capsys.readouterr().out
    assert "| `octo/app-0` | `first` | `not worse` | `no difference seen` |" in said
    assert "| `octo/app-1` | `early` | `worse` | `worse: f1 0.71 -> 0.62` |" in said


def test_of_an_installed_engine_the_status_has_its_version_and_the_upgrade_moves_its_lock(fleet: Fleet) -> None:
    """A project with 0.2.0 of an engine that has a 0.3.0, whose wheels lie in one folder."""
    fleet.small(1)
    (installed,) = fleet.github.projects.values()
    work, dist = fleet.folder / "checkout", fleet.folder / "dist"
    git(fleet.folder, "clone", "--quiet", str(installed.bare), "checkout")
    install(work, str(pack(work, dist)), "")
    commit(work, "Install the engine")
    git(work, "push", "--quiet", "origin", "main")
    run = Passes(fleet, first=1, oldest_engine="0.2.0", gates=["all"], extras=["guard"])
    (one,) = read_status(run.fleet, run.environment, fleet.folder / "kept").projects
    assert (one.fault, one.version, one.behind, one.edited, one.broken) == ("", "0.2.0", 1, (), ())

    (early,) = run().projects
    assert early.state == "unknown"
    assert "the engine cannot be taken" in early.reason, "its wheel is not there yet"
    assert installed.pulls == []
    pack(fleet.factory.template.root, dist)
    assert (states(run()), len(installed.pulls)) == ({"waiting": 1}, 1)
    before, after = installed.files("main"), installed.files(BRANCH)
    assert {path for path in after if after[path] != before.get(path)} == {LOCK, CI}
    assert not [path for path in after if path.startswith("engine/")]
    assert "sluice_engine-0.3.0-py3-none-any.whl" in git(installed.bare, "show", f"{BRANCH}:{LOCK}")
