"""The engine's files: all of engine/, and those that GitHub, DVC, git and make read outside of it.

engine/OWNED lists the latter and engine/FILES the former, with sha256. In the template `sluice engine check`, which
pre-commit runs, writes both lists anew; in a project it names the edited files.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from sluice.core.atomic_files import write_atomic
from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.git import run
from sluice.core.workspace import LOCK

ENGINE = "engine/"
OWNED, FILES = "engine/OWNED", "engine/FILES"
# Only the template has them: `sluice init` removes them, and no upgrade brings them.
TEMPLATE_FILES = (".github/dependabot.yml", ".github/workflows/template-release.yml")
# Outside of engine/, by the reason why a file cannot lie there. The first match counts.
_REASONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "GitHub reads them from .github/ alone. A workflow of your own is another file there",
        (".github/workflows/*", ".github/actions/*", ".github/zizmor.yml"),
    ),
    (
        "programs look for them at the top (make, pre-commit, git, buildah, the machine that runs the tests)",
        ("Makefile", ".pre-commit-config.yaml", ".gitattributes", ".containerignore", ".ci/run", ".gitleaks.toml"),
    ),
    (
        "DVC looks for them here, and its stages are the engine's; their numbers, pipelines/params.yaml, are yours",
        (".dvc/.gitignore", ".dvcignore", "pipelines/dvc.yaml", "pipelines/sagemaker.py"),
    ),
)
_HEAD = """\
# The engine's files outside of engine/. An upgrade replaces them, and `make check` names one that was edited.
# To make one your own, list it under `adopted:` in config/project.yaml: an upgrade then merges it.
# `sluice engine check` writes this file in the template; `sha256sum --check engine/OWNED` reads it.
"""
# What to use in place of an edit of a file; the first pattern that matches counts.
_PROPOSE = "propose the change to the template: an upgrade brings it here"
_POINTS: tuple[tuple[str, str], ...] = (
    ("engine/src/sluice/evaluation/metrics*", "write a metric in src/assistant/metrics/ with @metric"),
    ("engine/src/sluice/guardrails/*", "write a guardrail in src/assistant/guardrails/ with @check"),
    ("engine/src/sluice/llm/*", "write a provider in src/assistant/ with @provider; config/providers.yaml names it"),
    ("engine/src/sluice/serving/*", "write an endpoint in src/assistant/routes.py; config/service.yaml has the limits"),
    ("engine/src/sluice/prompts/*", "write the prompt in prompts/"),
    ("engine/src/sluice/retrieval/*", "write your application in src/assistant/; config/stores.yaml has the stores"),
    ("engine/src/sluice/r[eo]*", "set steps in k8s/base/rollout.yaml and limits in config/gates.yaml"),
    ("engine/src/sluice/evaluation/*", "write a metric in src/assistant/metrics/; config/gates.yaml has the limits"),
    ("engine/k8s/analysis/*", "set limits in config/gates.yaml (`make sync`), arguments in k8s/base/rollout.yaml"),
    ("engine/k8s/*", "patch it in k8s/overlays/, or change k8s/base/rollout.yaml"),
    ("engine/schemas/cluster/*", "write a schema into k8s/schemas/ with `sluice manifests schema`"),
    ("engine/docs/*", "write your pages in docs/"),
    ("engine/tests/*", "write your tests in tests/"),
    ("engine/scripts/*", "write targets of your own in project.mk"),
    (".github/workflows/*", "write a workflow of your own beside it, or adopt this one"),
    ("Makefile", "write targets of your own in project.mk"),
    ("pipelines/sagemaker.py", "set machines and limits in config/sagemaker.yaml, or adopt this one"),
    ("pipelines/*", "set the numbers in pipelines/params.yaml"),
    ("engine/*", _PROPOSE),
    ("*", f"{_PROPOSE}, or adopt the file"),
)
Kind = Literal["changed", "added", "removed"]


@dataclass(frozen=True)
class Edit:
    path: str
    kind: Kind

    def __str__(self) -> str:
        return f"{self.path}: {self.kind}; {point_for(self.path)}"


def point_for(path: str) -> str:
    return next(text for pattern, text in _POINTS if fnmatch(path, pattern))


def walk(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() or path.is_symlink()]


def list_files(root: Path, *, untracked: bool = True) -> list[str]:
    others = ("--others", "--exclude-standard") if untracked else ()
    listed = run(root, "ls-files", "--cached", *others, "-z").split("\0")
    if (root / LOCK).is_file():  # git ignores an installed engine
        listed += [str(path.relative_to(root)) for path in (root / ENGINE).rglob("*") if path.suffix != ".pyc"]
    return sorted(path for path in set(listed) if path and (root / path).is_file())


def read_list(root: Path, name: str) -> dict[str, str]:
    path = root / name
    if not path.is_file():
        raise SluiceError(f"{path}: no such file", remedy="restore it with git")
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line and not line.startswith("#"):
            digest, _, file = line.partition("  ")
            if len(digest) != 64 or not file:
                raise SluiceError(f"{path}:{number}: not a digest and a path", remedy="restore it with git")
            found[file] = digest
    return found


def version_of(root: Path) -> str:
    path = root / "engine" / "pyproject.toml"
    try:
        return str(tomllib.loads(path.read_text(encoding="utf-8"))["project"]["version"])
    except (OSError, tomllib.TOMLDecodeError, KeyError):
        raise SluiceError(f"{path}: says no version of the engine", remedy="restore it with git") from None


def edits(root: Path, files: Iterable[str]) -> list[Edit]:
    there = set(files)
    wanted = {**read_list(root, OWNED), **read_list(root, FILES)}
    inside = {path for path in there if path.startswith(ENGINE)} - {FILES}
    found = [Edit(path, "added") for path in inside - set(wanted)]
    for path, digest in wanted.items():
        if path not in there:
            found.append(Edit(path, "removed"))
        elif not (root / path).is_file() or digest_of_file(root / path) != digest:  # a link to nowhere is none
            found.append(Edit(path, "changed"))
    return sorted(found, key=lambda edit: edit.path)


def write_lists(root: Path, files: Iterable[str]) -> list[str]:
    """Write engine/OWNED and engine/FILES anew; return those that changed."""
    there = sorted(set(files) - set(TEMPLATE_FILES))
    owned = _HEAD
    for reason, patterns in _REASONS:
        paths = [path for path in there if any(fnmatch(path, pattern) for pattern in patterns)]
        owned += f"#\n# {reason}:\n{_lines(root, paths)}"
    changed = [OWNED] if _write(root / OWNED, owned) else []
    inside = sorted({path for path in there if path.startswith(ENGINE)} - {FILES} | {OWNED})
    return changed + ([FILES] if _write(root / FILES, _lines(root, inside)) else [])


def refused(found: Iterable[Edit], adopted: Iterable[str], owned: Mapping[str, str]) -> list[Edit]:
    """Return the edits that a project may not make: all but those of adopted files of OWNED."""
    free = set(adopted) & set(owned)
    return [edit for edit in found if edit.path not in free]


def _lines(root: Path, paths: Iterable[str]) -> str:
    return "".join(f"{digest_of_file(root / path)}  {path}\n" for path in paths)


def _write(path: Path, text: str) -> bool:
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    write_atomic(path, text, sync=False)
    return True
