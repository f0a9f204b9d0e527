"""Git repositories to work on."""

from __future__ import annotations

import subprocess
from pathlib import Path

from sluice.template.names import Record, dump_record

ROOT = Path(__file__).resolve().parents[4]
WHO = ("-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "commit.gpgsign=false")


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *WHO, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


def commit(folder: Path, message: str, **files: str | None) -> str:
    """Writes files (`__` in a name stands for `/`, None removes one), commits all; returns the commit."""
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD")


def make_template(folder: Path, version: str = "0.1.0", name: str = "wei" + "r") -> Path:
    """A template in miniature, committed and tagged. Its name is spelt in parts: `init` would rename it here, too."""
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    names: dict[str, object] = {
        "name": name,
        "organisation": "example",
        "image": f"ghcr.io/example/{name}",
        "region": "eu-west-1",
    }
    names |= {"environments": ["trial", "actual"]}
    record = Record.model_validate({"template": {"version": version, "names": names}, "names": names})
    project = f'[project]\nname = "{name}"\n\n[tool.ruff.lint]\nselect = ["E", "I"]\nignore = ["B008"]\n'
    long = "a message that is long already, so that a longer name makes the line longer than any formatter can mend, "
    commit(
        folder,
        "Begin",
        **{
            ".template.yaml": dump_record(record),
            "pyproject.toml": project,
            "prompts__one.prompt.yml": "name: one\n",
            "README.md": f"# {name.title()}\n\n```\ndata.dvc   data\ndvc-store/   its remote\nsrc/   code\n```\n",
            "CHANGELOG.md": f"- `{name} serve` is new.\n",
            "data.dvc": "outs: []\n",
            "dvc-store__files__ab": f"{name}\n",
            f"src__{name}__init.py": "",
            f"src__{name}__core.py": f'LONG = "{long}{name}"\n',
            f"src__{name}__app.py": f"import json\n\nfrom {name}.core import LONG\n\nprint(json, LONG)\n",
            f"k8s__base__policy-{name}.yaml": f"name: {name}\n",
            "k8s__overlays__trial__kustomization.yaml": f"namespace: {name}-trial\n",
            "notes.md": "".join(f"line {number}\n" for number in range(1, 21)),
        },
    )
    git(folder, "tag", f"v{version}")
    return folder
