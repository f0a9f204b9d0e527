import os
import subprocess
import sys
from pathlib import Path

from sluice.template.owned import list_files, write_lists
from support.git import commit_all, git

ROOT = Path(__file__).resolve().parents[4]


def run(root: Path, *argv: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a checkout, with the code of that."""
    paths = (root / "src", root / "engine/src", root / "engine/tests")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    environment |= {"PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(argv, cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=3000)


def call(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run(root, sys.executable, "-c", "import sys; from sluice.cli import main; sys.exit(main())", *words)


def write(folder: Path, files: dict[str, str | None]) -> None:
    """Writes files by path; None removes one."""
    for name, text in files.items():
        path = folder / name
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def commit(folder: Path, message: str, files: dict[str, str | None] | None = None) -> str:
    write(folder, files or {})
    return commit_all(folder, message)


def blobs(repository: Path, ref: str) -> dict[str, str]:
    listed = git(repository, "ls-tree", "-r", ref).splitlines()
    return {path: facts.split()[2] for facts, path in (line.split("\t") for line in listed)}


def lines(first: int, last: int, **changed: str) -> str:
    return "".join(f"{changed.get(f'l{number}', f'line {number}')}\n" for number in range(first, last + 1))


PROJECT = """\
# What this project is called.
name: quarry                   # label
organisation: example
region: eu-west-1
image: ghcr.io/example/quarry
environments: [trial, actual]
"""
_OVERLAY = """\
namespace: quarry-{0}
labels:
  - pairs: {{project: quarry}}
images:
  - name: sluice
    newName: ghcr.io/example/quarry
  - name: sluice-load
    newName: ghcr.io/example/quarry-load
configMapGenerator:
  - literals:
      - artefacts=s3://quarry-artefacts-{0}
patches:
  - patch: |
      - {{op: replace, path: /spec/routes/0/match, value: Host(`quarry.{0}.example.com`)}}
"""


def pyproject(version: str) -> str:
    return f'[project]\nname = "sluice"\nversion = "{version}"\n'


class Template:
    def __init__(self, folder: Path) -> None:
        self.root = folder
        folder.mkdir()
        git(folder, "init", "--quiet", "--initial-branch", "main")
        self.release(
            "0.1.0",
            {
                "config/project.yaml": PROJECT,
                "config/gates.yaml": "gates: []\n",
                "prompts/one.prompt.yml": "name: one\n",
                "pyproject.toml": '[project]\nname = "assistant"\n',
                "README.md": "# Quarry\n\n```\ndata.dvc   data\ndvc-store/   its remote\nsrc/   code\n```\n",
                "data.dvc": "outs: []\n",
                "dvc-store/files/ab": "ab\n",
                ".github/CODEOWNERS": "# /prompts/ @example/prompts\n",
                ".github/workflows/ci.yml": lines(1, 20),
                "Makefile": "all:\n",
                "engine/src/sluice/evaluation/metrics/digits.py": "A = 1\n",
                "engine/src/sluice/data/contract.py": "FILES = 1\n",
                "engine/k8s/base/service.yaml": "kind: Service\n",
                **{
                    f"k8s/overlays/{name}/kustomization.yaml": _OVERLAY.format(name)
                    for name in ("local", "trial", "actual")
                },
            },
        )

    def release(self, version: str, files: dict[str, str | None] | None = None) -> None:
        write(self.root, {"engine/pyproject.toml": pyproject(version), **(files or {})})
        git(self.root, "add", "--all")
        write_lists(self.root, list_files(self.root))
        commit(self.root, f"Release {version}")
        git(self.root, "tag", f"v{version}")

    def give(self, ref: str, folder: Path) -> None:
        """Make a repository as GitHub does: with the files, without the history."""
        git(self.root, "init", "--quiet", "--initial-branch", "main", str(folder))
        argv = ["git", "-C", str(self.root), "archive", ref]
        archive = subprocess.run(argv, capture_output=True, check=True).stdout
        subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)


class Fork:
    def __init__(self, folder: Path, template: Template | None = None) -> None:
        self.template = template or Template(folder / "template")
        self.server = folder / "server.git"
        self.root = folder / "fork"
        git(folder, "init", "--quiet", "--bare", "--initial-branch", "main", str(self.server))
        self.template.give("HEAD", self.root)
        git(self.root, "remote", "add", "origin", str(self.server))
        project = (self.root / "config/project.yaml").read_text() + "template: {repository: ''}\n"
        commit(self.root, "Begin", {"config/project.yaml": project})
        git(self.root, "push", "--quiet", "origin", "main")

    def file(self, commit: str, path: str) -> str:
        return git(self.root, "show", f"{commit}:{path}")

    def files(self, commit: str) -> dict[str, str]:
        return blobs(self.root, commit)
