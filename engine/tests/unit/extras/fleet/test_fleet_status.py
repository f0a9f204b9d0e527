"""The status of a fleet: real repositories behind a fake GitHub."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sluice import cli
from sluice.core.errors import SluiceError
from sluice.extras.fleet import fleet_status
from sluice.extras.fleet.fleet_status import FleetStatus, read_status
from sluice.extras.fleet.fleet_upgrade import advance
from sluice.extras.fleet.project_status import LiveRelease, ProjectStatus
from sluice.extras.fleet.repository_reader import GitMirror
from unit.extras.fleet.fake_fleet import BOT, EDITS, GATES, FakeFleet, FakeProject, ProjectFactory, fleet_of
from unit.github.fake_github import REPOSITORY
from unit.template.conftest import commit, git

_NIGHTLY = "<!-- sluice:nightly run=5.1 -->\nfailed.\n\n| job | result |\n|---|---|\n| `evaluate` | `success` |\n"


def read(github: FakeFleet, factory: ProjectFactory, tmp_path: Path, **rules: object) -> dict[str, ProjectStatus]:
    fleet = fleet_of(github.projects, factory.template.root, 99, **rules)
    found = read_status(fleet, github.environment(factory.servers), tmp_path / "kept")
    return {one.repository: one for one in found.projects}


def add(github: FakeFleet, project: FakeProject) -> FakeProject:
    github.projects[project.name] = project
    return project


def note(project: FakeProject, name: str, **event: str) -> None:
    """Adds to the record of a project, as extras/registry/registry_store.py does."""
    blob = project.bare / "note.json"
    blob.write_text(json.dumps(event))
    sha = git(project.bare, "hash-object", "-w", str(blob))
    blob.write_text(f"100644 blob {sha}\tnote\n")
    index = git(project.bare, "-c", "alias.make=!git mktree <note.json", "make")
    made = git(project.bare, "commit-tree", index, "-m", "note")
    git(project.bare, "update-ref", f"refs/sluice/record/{name}", made)


def test_a_project_that_differs_in_everything(github: FakeFleet, factory: ProjectFactory, tmp_path: Path) -> None:
    loose = GATES.replace("limit: 0.8,", "limit: 0.5,").replace("smallest: 0.02", "smallest: 0.5")
    files = {**EDITS[0], "config/gates.yaml": loose}
    made = add(github, factory.make("octo/app", "0.1.0", files, without=("guard",)))
    del github.projects["octo/app"]
    made.name = made.facts["full_name"] = "octo/one"
    made.bare.rename(made.bare.with_name("one.git"))
    made.bare = made.bare.with_name("one.git")
    add(github, made)
    note(made, "trial/000001.json", event="promoted", id="r-00000000000a", time="2026-11-01T10:00:00+00:00")
    note(made, "actual/000001.json", event="promoted", id="r-00000000000a", time="2026-11-02T10:00:00+00:00")
    late = {"time": "2026-11-03T10:00:00+00:00", "reason": "f1 fell"}
    note(made, "actual/000002.json", event="rejected", id="r-00000000000b", **late)
    author = {"login": BOT}
    drifted = _NIGHTLY + "| `drift` | `failure` |\n"
    made.issues.append({"body": drifted, "state": "open", "user": author, "html_url": "https://github.invalid/1"})
    made.issues.append({"body": drifted, "state": "open", "user": {"login": "eve"}, "html_url": "no"})
    made.protected = False
    made.alerts = [{"state": "open"}, {"state": "open"}, {"state": "fixed"}]
    rules = {"oldest_engine": "0.2.0", "gates": ["recall"], "extras": ["guard", "notebook"]}
    (one,) = read(github, factory, tmp_path, **rules).values()
    assert one.fault == ""
    assert (one.version, one.behind, one.without, one.missing) == ("0.1.0", 2, ("guard",), ("guard",))
    assert [edit.split(": changed; ")[1] for edit in one.edited] == [
        "write a metric in src/assistant/metrics/ with @metric"
    ]
    assert [(live.environment, live.release) for live in one.live] == [
        ("trial", "r-00000000000a"),
        ("actual", "r-00000000000a"),
    ]
    assert (one.verdict, one.verdict_time[:10]) == ("rejected r-00000000000b: f1 fell", "2026-11-03")
    assert [str(gate) for gate in one.loosened] == ["recall: limit 0.8 -> 0.5", "f1: smallest 0.02 -> 0.5"]
    assert (one.drift, [issue.marker for issue in one.issues]) == (True, ["nightly"])
    assert one.notes == ("main is not protected",)
    assert one.advisories == 2
    assert ("open advisories", "2") in list(fleet_status.details(one))
    assert one.broken == (
        one.edited[0],
        "engine 0.1.0: older than 0.2.0",
        "extra guard: missing",
        "gate recall: limit 0.8 -> 0.5",
    )


def test_a_project_as_it_should_be_is_healthy_and_the_second_look_is_conditional(
    github: FakeFleet, factory: ProjectFactory, tmp_path: Path
) -> None:
    add(github, factory.make("octo/one", "0.3.0", {}))
    first = read(github, factory, tmp_path, oldest_engine="0.2.0", gates=["all"], extras=["guard"])
    one = first["octo/one"]
    assert (one.healthy, one.behind, one.edited, one.loosened) == (True, 0, (), ())
    assert one.verdict == "no record in the repository"
    assert one.advisories is None, "alerts are switched off: not known, not none"
    assert github.unchanged == []
    asked = len(github.asked) - 1  # what is refused has no ETag
    assert read(github, factory, tmp_path, oldest_engine="0.2.0", gates=["all"], extras=["guard"]) == first
    assert len(github.unchanged) == asked == len(github.asked) - asked - 2, "each answer is a 304"
    github.projects["octo/one"].facts["archived"] = True
    assert read(github, factory, tmp_path)["octo/one"].notes == ("archived",), "a change is seen"


def test_each_trouble_is_one_line_and_the_rest_goes_on(
    github: FakeFleet, factory: ProjectFactory, tmp_path: Path
) -> None:
    fine = factory.make("octo/fine", "0.3.0", {})
    troubles = {"octo/forbidden": 403, "octo/gone": 404, "octo/broken": 500, "octo/blocked": 451}
    for name, status in troubles.items():
        add(github, FakeProject(name, fine.bare, status=status))
    add(github, fine)
    add(github, FakeProject("octo/empty", factory.make("octo/empty", "0.3.0", {}).bare))
    git(github.projects["octo/empty"].bare, "symbolic-ref", "HEAD", "refs/heads/none")
    foreign = factory.make("octo/foreign", "0.3.0", {"engine/OWNED": None})
    add(github, foreign)
    old = add(github, FakeProject("octo/old", fine.bare))
    old.facts["moved_to"] = "octo/fine"
    found = read(github, factory, tmp_path)
    assert {name: one.fault for name, one in found.items() if one.fault} == {
        "octo/forbidden": "the token may not read it",
        "octo/gone": "not there, or the token may not read it",
        "octo/broken": "GitHub answers 500: planned 500",
        "octo/blocked": "blocked by GitHub",
        "octo/foreign": found["octo/foreign"].fault,
    }
    assert found["octo/foreign"].fault == "engine/OWNED: no such file"
    assert found["octo/old"].notes == ("renamed to octo/fine",), "and it is read by its new name"
    assert found["octo/fine"].healthy


UNREADABLE: dict[str, tuple[str, bytes | str, str]] = {  # path, what is there (a text: where a link leads), the fault
    "a version of words": (
        "engine/pyproject.toml",
        b'[project]\nversion = "next"\n',
        "next: not a version such as 0.2.0",
    ),
    "no text": ("engine/FILES", b"\xff\xff\n", "cannot be read: UnicodeDecodeError: "),
    "a lock that is no text": ("config/engine.lock", b"\xff\n", "cannot be read: UnicodeDecodeError: "),
    "gates that are no text": ("config/gates.yaml", b"gates: \xff\n", ""),
    "pins that are no text": ("engine/requirements/serve.txt", b"\xff==1\n", ""),
    "a link to a device": ("engine/requirements/serve.txt", "/dev/zero", ""),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_whatever_a_project_holds_the_others_are_read_and_upgraded(
    github: FakeFleet, factory: ProjectFactory, tmp_path: Path, case: str
) -> None:
    name, content, fault = UNREADABLE[case]
    odd, fine = (add(github, factory.make(f"octo/{one}", "0.2.0", {})) for one in ("odd", "fine"))
    git(tmp_path, "clone", "--quiet", str(odd.bare), "clone")
    (tmp_path / "clone" / name).unlink(missing_ok=True)
    if isinstance(content, str):
        (tmp_path / "clone" / name).symlink_to(content)
    else:
        (tmp_path / "clone" / name).write_bytes(content)
    commit(tmp_path / "clone", "Odd")
    git(tmp_path / "clone", "push", "--quiet", "origin", "main")

    found = read(github, factory, tmp_path, gates=["all"])
    assert (found["octo/fine"].fault, found["octo/fine"].version) == ("", "0.2.0")
    assert found["octo/odd"].fault.startswith(fault)
    assert not found["octo/odd"].healthy
    fleet = fleet_of(github.projects, factory.template.root, 99)
    advance(fleet, github.environment(factory.servers), tmp_path / "kept")
    assert len(fine.pulls) == 1
    assert len(odd.pulls) == (case == "gates that are no text"), "its own comparison reads those"


def test_a_broken_record_shows_nobody_the_token(github: FakeFleet, factory: ProjectFactory, tmp_path: Path) -> None:
    """A fault stands on a page that may be published."""
    made = add(github, factory.make("octo/one", "0.3.0", {}))
    note(made, "actual/000001.json", event="promoted", id="nothing")
    fleet = fleet_of(github.projects, factory.template.root, 99)
    environment = github.environment(factory.servers)
    found = read_status(fleet, environment, tmp_path / "kept")
    (one,) = found.projects
    assert one.fault.startswith(f"{factory.servers.as_uri()}/octo/one.git/record/actual/000001.json: not an entry")
    shown = [fleet_status.table(found), fleet_status.page(found), json.dumps(found.as_dict())]
    token = environment["GITHUB_TOKEN"]
    assert not [text for text in shown if token in text]
    assert token not in repr(GitMirror(tmp_path, "https://github.invalid/octo/one.git", environment))


def test_a_rate_limit_ends_no_other_project(github: FakeFleet, factory: ProjectFactory, tmp_path: Path) -> None:
    for name in ("octo/one", "octo/two"):
        add(github, factory.make(name, "0.3.0", {}))
    message = "API rate limit exceeded for installation ID 7."
    github.script = [
        ("GET", 403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9999999999", "message": message})
    ]
    found = read(github, factory, tmp_path)
    assert sorted(one.fault for one in found.values()) == ["", "the rate limit is reached; the next run asks again"]
    assert github.pauses == [], "nobody waits for an hour"


def test_a_template_out_of_reach_is_an_error(github: FakeFleet, factory: ProjectFactory, tmp_path: Path) -> None:
    add(github, factory.make("octo/one", "0.3.0", {}))
    with pytest.raises(SluiceError, match="nowhere"):
        read_status(fleet_of(github.projects, tmp_path / "nowhere", 9), github.environment(tmp_path), tmp_path / "kept")


# -- reports


def status_of(count: int) -> FleetStatus:
    texts = {"owners": ("@octo/<team>",), "ring": "rest", "project": "app", "version": "0.3.0", "behind": 0}
    live = (LiveRelease(environment="actual", release="r-00000000000a", since="2026-11-02T10:00:00+00:00"),)
    whole = {**texts, "live": live, "verdict": "promoted r-00000000000a", "verdict_time": "2026-11-02T10:00:00+00:00"}
    projects = [ProjectStatus.model_validate({"repository": f"octo/app-{n}", **whole}) for n in range(count - 1)]
    bad = ProjectStatus(repository="octo/bad", ring="rest", owners=("a",), fault="<script>alert(1)</script>")
    return FleetStatus("2026-11-28T10:00:00+00:00", "octo/template", ("0.2.0", "0.3.0"), (*projects, bad))


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("count", [1, 50])
def test_the_page_is_one_offline_file_with_every_project(count: int) -> None:
    text = fleet_status.page(status_of(count))
    page = _Page(text)
    assert page.open == []
    names = [tag for tag, _ in page.tags]
    assert {"script", "img", "link", "iframe"}.isdisjoint(names)
    assert not [attrs for _, attrs in page.tags if {"src", "href", "onclick"} & set(attrs)]
    assert "http" not in re.sub(r"http-equiv", "", text)
    heads = [attrs for tag, attrs in page.tags if tag == "th"]
    assert all(attrs.get("scope") in ("col", "row") for attrs in heads), "a screen reader knows what a cell is about"
    assert names.count("caption") == names.count("table") == 2
    assert len([attrs for attrs in heads if attrs["scope"] == "row"]) == count + len(
        {"0.3.0", "not known"} if count > 1 else {"not known"}
    )
    assert text.index("octo/bad") < text.index("octo/app-0") if count > 1 else "octo/bad" in text
    assert len(text) < 20_000 + count * 900


def test_the_command(
    github: FakeFleet,
    factory: ProjectFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    add(github, factory.make("octo/one", "0.2.0", {}))
    add(github, FakeProject("octo/two", factory.servers, status=500))
    for name, value in github.environment(factory.servers).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    fleet = fleet_of(github.projects, factory.template.root, 9)
    Path("fleet.yaml").write_text(json.dumps(fleet.model_dump(mode="json", exclude_none=True)))
    command = ["fleet", "status", "--page", "out/fleet.html"]
    cli.command()(command, standalone_mode=False)
    said = capsys.readouterr().out
    assert re.search(r"octo/one +first +0\.2\.0 +1 ", said)
    assert "    not read: GitHub answers 500: planned 500" in said
    assert said.endswith("2 projects, 1 to look at; newest engine 0.3.0\n")
    assert Path("out/fleet.html").read_text().startswith("<!doctype html>")
    with pytest.raises(SluiceError, match="1 projects to look at: octo/two"):
        cli.command()(["fleet", "status", "--json", "--check"], standalone_mode=False)
    assert [one["healthy"] for one in json.loads(capsys.readouterr().out)["projects"]] == [True, False]
    assert not [path for path in github.asked if REPOSITORY in path[1] or path[0] != "GET"], "it only reads"
