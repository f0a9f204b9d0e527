"""House rules that no linter knows. What is forbidden is spelt here in parts, so that this file may be read as well."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HOSTS = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("python" + "hosted", "org"),
        ("npm" + "js", "org"),
        ("npm" + "js", "com"),
        ("deb", "debian", "org"),
        ("archive", "ubuntu", "com"),
        ("download", "pytorch", "org"),
        ("anaconda", "org"),
        ("crates", "io"),
        ("proxy", "golang", "org"),
    )
]
FOLDERS = ("wo" + "rk", "ro" + "ot", "tmp/" + "wt")
MACHINE = r"(?<![\w.$}~/-])/(?:" + "|".join(FOLDERS) + r")/"
MARKERS = r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK")) + r")\b"


def places(texts: dict[str, str], pattern: str) -> list[str]:
    """`file:line: what was found`."""
    return [
        f"{name}:{number}: {found[0]}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if (found := re.search(pattern, line))
    ]


# PyPI's torch for Linux is made for a GPU; only PyTorch's own index has the build for GitHub's runners.
CPU_INDEX = [".github/actions/setup/action.yml", " download." + "pytorch.org"]


@pytest.mark.parametrize(
    ("rule", "pattern"),
    [
        ("no host of a package registry", "|".join(re.escape(host) for host in HOSTS)),
        ("no path of one machine", MACHINE),
        ("no open end", MARKERS),
    ],
)
def test_no_tracked_file_holds(texts: dict[str, str], rule: str, pattern: str) -> None:
    assert not [place for place in places(texts, pattern) if place.split(":")[0::2] != CPU_INDEX], rule


def test_the_patterns_find_what_they_are_for() -> None:
    folder = FOLDERS[0]
    lines = [f"see https://{HOSTS[1]}/x", "ok", f"cd /{folder}/x", "# TO" + "DO later", f"network/{folder}/ok"]
    seeded = {"a.md": "\n".join(lines)}
    assert places(seeded, re.escape(HOSTS[1])) == [f"a.md:1: {HOSTS[1]}"]
    assert places(seeded, MACHINE) == [f"a.md:3: /{folder}/"]
    assert places(seeded, MARKERS) == ["a.md:4: TO" + "DO"]


def faults_of_lock(lock: str) -> list[str]:
    """Requirements without a hash or of a local build, and any index address."""
    faults = [line for line in lock.splitlines() if "://" in line or line.startswith("-")]
    for requirement in re.sub(r"\\\n\s*", " ", lock).splitlines():
        if not requirement.strip() or requirement.lstrip().startswith("#") or requirement in faults:
            continue
        pinned = re.match(r"[\w.\[\],-]+==(\S+)", requirement)
        if not pinned or "+" in pinned[1] or "--hash=sha256:" not in requirement:
            faults.append(requirement.split(" --hash")[0])
    return faults


def test_every_locked_requirement_has_hashes_and_no_address(root: Path) -> None:
    engine = root / "engine"
    locks = sorted([*engine.glob("requirements/*.txt"), *engine.glob("src/sluice/extras/*/requirements/*.txt")])
    assert locks
    assert {lock.name: faults_of_lock(lock.read_text()) for lock in locks} == {lock.name: [] for lock in locks}


@pytest.mark.parametrize(
    "line",
    ["torch==2.9.0+cpu \\\n    --hash=sha256:00", "torch==2.9.0", "torch>=2 --hash=sha256:00", "--extra-index-url x"],
)
def test_a_faulty_lock_is_found(line: str) -> None:
    assert faults_of_lock(f"# comment\nyarl==1.0 \\\n    --hash=sha256:00\n{line}\n")
