import json
import re
from pathlib import Path

import pytest

from sluice import cli
from sluice.core.errors import SluiceError
from sluice.extras.fleet import fleet_status
from sluice.extras.fleet.fleet_status import FleetStatus, read_status
from sluice.extras.fleet.fleet_upgrade import advance
from sluice.extras.fleet.project_status import LiveRelease, ProjectStatus
from sluice.extras.fleet.repository_reader import GitMirror
from sluice.release.artifact_store import open_artifact_store
from support.git import git
from unit.extras.fleet.fake_fleet import BOT, EDITS, GATES, FakeProject, Fleet
from unit.github.fake_github import REPOSITORY
from unit.template.conftest import commit

_NIGHTLY = "<!-- sluice:nightly run=5.1 -->\nfailed.\n\n| job | result |\n|---|---|\n| `evaluate` | `success` |\n"


def read(fleet: Fleet, **rules: object) -> dict[str, ProjectStatus]:
    found = read_status(fleet.file(**rules), fleet.environment, fleet.folder / "kept")
    return {one.repository: one for one in found.projects}


def note(project: FakeProject, name: str, **event: str) -> None:
    open_artifact_store(f"oci://127.0.0.1:9/app#{project.bare}").make(f"record/{name}", json.dumps(event).encode())


def test_a_project_that_differs_in_everything(fleet: Fleet) -> None:
    loose = GATES.replace("limit: 0.8,", "limit: 0.5,").replace("smallest: 0.02", "smallest: 0.5")
    files = {**EDITS[0], "config/gates.yaml": loose}
    made = fleet.add(fleet.factory.make("octo/app", "0.1.0", files, without=("guard",)))
    del fleet.github.projects["octo/app"]
    made.name = made.facts["full_name"] = "octo/one"
    made.bare.rename(made.bare.with_name("one.git"))
    made.bare = made.bare.with_name("one.git")
    fleet.add(made)
    note(made, "trial/000001.json", event="promoted", id="r-00000000000a", time="2026-11-01T10:00:00+00:00")
    note(made, "actual/000001.json", event="promoted", id="r-00000000000a", time="2026-11-02T10:00:00+00:00")
    late = {"time": "2026-11-03T10:00:00+00:00", "reason": "f1 fell"}
    note(made, "actual/000002.json", event="rejected", id="r-00000000000b", **late)
    author = {"login": BOT}
    made.issues.append({"body": _NIGHTLY, "state": "open", "user": author, "html_url": "https://github.invalid/1"})
    made.issues.append({"body": _NIGHTLY, "state": "open", "user": {"login": "eve"}, "html_url": "no"})
    made.protected = False
    made.alerts = [{"state": "open"}, {"state": "open"}, {"state": "fixed"}]
    rules = {"oldest_engine": "0.2.0", "gates": ["recall"], "extras": ["guard", "notebook"]}
    (one,) = read(fleet, **rules).values()
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
    assert [issue.marker for issue in one.issues] == ["nightly"]
    assert one.notes == ("main is not protected",)
    assert one.advisories == 2
    assert ("open advisories", "2") in list(fleet_status.details(one))
    assert one.broken == (
        one.edited[0],
        "engine 0.1.0: older than 0.2.0",
        "extra guard: missing",
        "gate recall: limit 0.8 -> 0.5",
    )


def test_a_project_as_it_should_be_is_healthy(fleet: Fleet) -> None:
    fleet.add(fleet.factory.make("octo/one", "0.3.0", {}))
    first = read(fleet, oldest_engine="0.2.0", gates=["all"], extras=["guard"])
    one = first["octo/one"]
    assert (one.healthy, one.behind, one.edited, one.loosened) == (True, 0, (), ())
    assert one.verdict == "no record in the repository"
    assert one.advisories is None, "alerts are switched off: not known, not none"
    fleet.github.projects["octo/one"].facts["archived"] = True
    assert read(fleet)["octo/one"].notes == ("archived",), "a change is seen"


def test_each_trouble_is_one_line_and_the_rest_goes_on(fleet: Fleet) -> None:
    fine = fleet.factory.make("octo/fine", "0.3.0", {})
    troubles = {"octo/forbidden": 403, "octo/gone": 404, "octo/broken": 500, "octo/blocked": 451}
    for name, status in troubles.items():
        fleet.add(FakeProject(name, fine.bare, status=status))
    fleet.add(fine)
    fleet.add(FakeProject("octo/empty", fleet.factory.make("octo/empty", "0.3.0", {}).bare))
    git(fleet.github.projects["octo/empty"].bare, "symbolic-ref", "HEAD", "refs/heads/none")
    foreign = fleet.factory.make("octo/foreign", "0.3.0", {"engine/OWNED": None})
    fleet.add(foreign)
    old = fleet.add(FakeProject("octo/old", fine.bare))
    old.facts["moved_to"] = "octo/fine"
    found = read(fleet)
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


UNREADABLE: dict[str, tuple[str, bytes | str, str]] = {  # path, content (a text: where a link leads), and the fault
    "version": ("engine/pyproject.toml", b'[project]\nversion = "next"\n', "next: not a version such as 0.2.0"),
    "files": ("engine/FILES", b"\xff\xff\n", "cannot be read: UnicodeDecodeError: "),
    "lock": ("config/engine.lock", b"\xff\n", "cannot be read: UnicodeDecodeError: "),
    "gates": ("config/gates.yaml", b"gates: \xff\n", ""),
    "device": ("engine/requirements/serve.txt", "/dev/zero", ""),
}


def test_whatever_a_project_holds_the_others_are_read_and_upgraded(fleet: Fleet) -> None:
    fine = fleet.add(fleet.factory.make("octo/fine", "0.2.0", {}))
    for name, (path, content, _) in UNREADABLE.items():
        odd = fleet.add(fleet.factory.make(f"octo/{name}", "0.2.0", {}))
        clone = fleet.folder / name
        git(fleet.folder, "clone", "--quiet", str(odd.bare), name)
        (clone / path).unlink(missing_ok=True)
        if isinstance(content, str):
            (clone / path).symlink_to(content)
        else:
            (clone / path).write_bytes(content)
        commit(clone, "Odd")
        git(clone, "push", "--quiet", "origin", "main")

    found = read(fleet, gates=["all"])
    assert (found["octo/fine"].fault, found["octo/fine"].version) == ("", "0.2.0")
    for name, (_, _, fault) in UNREADABLE.items():
        one = found[f"octo/{name}"]
        assert (one.fault.startswith(fault), one.healthy) == (True, False), name
    advance(fleet.file(), fleet.environment, fleet.folder / "kept")
    assert len(fine.pulls) == 1
    # Its own comparison reads the gates; the rest is what an upgrade would lose.
    assert {name for name in UNREADABLE if fleet.github.projects[f"octo/{name}"].pulls} == {"gates"}


def test_a_broken_record_shows_nobody_the_token(fleet: Fleet) -> None:
    """A fault stands on a page that may be published."""
    made = fleet.add(fleet.factory.make("octo/one", "0.3.0", {}))
    note(made, "actual/000001.json", event="promoted", id="nothing")
    environment = fleet.environment
    found = read_status(fleet.file(), environment, fleet.folder / "kept")
    (one,) = found.projects
    assert one.fault.startswith(
        f"{fleet.factory.servers.as_uri()}/octo/one.git/record/actual/000001.json: not an entry"
    )
    shown = [fleet_status.table(found), fleet_status.page(found), json.dumps(found.as_dict())]
    token = environment["GITHUB_TOKEN"]
    assert not [text for text in shown if token in text]
    assert token not in repr(GitMirror(fleet.folder, "https://github.invalid/octo/one.git", environment))


def test_a_rate_limit_ends_no_other_project(fleet: Fleet) -> None:
    for name in ("octo/one", "octo/two"):
        fleet.add(fleet.factory.make(name, "0.3.0", {}))
    message = "API rate limit exceeded for installation ID 7."
    fleet.github.script = [
        ("GET", 403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9999999999", "message": message})
    ]
    found = read(fleet)
    assert sorted(one.fault for one in found.values()) == ["", "the rate limit is reached; the next run asks again"]
    assert fleet.github.pauses == [], "nobody waits for an hour"


def test_a_template_out_of_reach_is_an_error(fleet: Fleet) -> None:
    fleet.add(FakeProject("octo/one", fleet.factory.servers))
    nowhere = fleet.file().model_copy(update={"template": str(fleet.folder / "nowhere")})
    with pytest.raises(SluiceError, match="nowhere"):
        read_status(nowhere, fleet.environment, fleet.folder / "kept")


def test_the_page_is_one_offline_file_with_every_project() -> None:
    live = (LiveRelease(environment="actual", release="r-00000000000a", since="2026-11-02T10:00:00+00:00"),)
    fine = ProjectStatus(repository="octo/app", ring="rest", owners=("@octo/<team>",), version="0.3.0", live=live)
    bad = ProjectStatus(repository="octo/bad", ring="rest", owners=("a",), fault="<script>alert(1)</script>")
    text = fleet_status.page(FleetStatus("2026-11-28T10:00:00+00:00", "octo/template", "0.3.0", (fine, bad)))
    assert text.index("octo/bad") < text.index("octo/app"), "what needs a look stands first"
    assert "@octo/&lt;team&gt;" in text
    assert not re.search(r"<(script|img|link|iframe)\b|\b(src|href|onclick)=", text)
    assert "http" not in text.replace("http-equiv", "")
    assert set(re.findall(r"<th\b[^>]*", text)) == set(re.findall(r'<th scope="(?:col|row)"[^>]*', text))


def test_the_command(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.add(fleet.factory.make("octo/one", "0.2.0", {}))
    fleet.add(FakeProject("octo/two", fleet.factory.servers, status=500))
    fleet.enter(monkeypatch, fleet.file())
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
    assert not [path for path in fleet.github.asked if REPOSITORY in path[1] or path[0] != "GET"], "it only reads"
