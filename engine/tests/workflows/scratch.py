"""A scratch repository of this working tree's files, without tests (act copies it for each job); GitHub's events."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
LEFT_OUT = ("tests/", "engine/tests/", "engine/benchmarks/")
REPOSITORY = "octo/app"
PROMPT = "prompts/answer.prompt.yml"
_WHO = {"GIT_AUTHOR_NAME": "octocat", "GIT_AUTHOR_EMAIL": "octocat@example.invalid"}


class Scratch:
    """`root`: the repository, on its branch main; `base`: the commit there; `origin`: a bare clone of it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "repository"
        self.origin = folder / "origin.git"
        for name in tracked():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, self.root / name, follow_symlinks=False)
        self.git("init", "--quiet", "--initial-branch", "main")
        self._settle()
        self.base = self.commit("What the tests start from")
        self.git("clone", "--quiet", "--bare", str(self.root), str(self.origin))
        self.git("remote", "add", "origin", str(self.origin))
        self.git("fetch", "--quiet", "origin")

    def _settle(self) -> None:
        """Make smaller what is slow: the evaluation, the models, the environments of the cluster."""
        # The rule answers every case at once; these are enough for every gate, and quick to score.
        self.edit("pipelines/params.yaml", "limit: 0 ", "limit: 135 ")
        models = {}
        for role in ("chat", "embed"):
            path = self.root.parent / f"{role}.model"
            with zipfile.ZipFile(path, "w") as archive:  # as the embedder's is, whose words the starter reads
                archive.writestr("vocabulary.json", json.dumps([f"a model for {role}"]))
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            models[role] = {"name": role, "source": f"file:{path}", "sha256": digest, "licence": "CC0-1.0"}
        self.write("config/models.yaml", yaml.safe_dump(models))
        # Keys of GitHub's that act refuses.
        for path in (self.root / ".github" / "workflows").glob("*.yml"):
            path.write_text(
                re.sub(r"^( +)(queue: max|deployment: false)", r"\1# \2", path.read_text(), flags=re.MULTILINE)
            )
        overlays = self.root / "k8s" / "overlays"
        for environment in ("staging", "production"):
            shutil.rmtree(overlays / environment)
            shutil.copytree(overlays / "local", overlays / environment)

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def git(self, *words: str, author: str = "octocat") -> str:
        name = ["-c", "user.name=octocat", "-c", "user.email=octocat@example.invalid", "-c", "commit.gpgsign=false"]
        environment = {**_WHO, "GIT_AUTHOR_NAME": author, "PATH": os.environ["PATH"], "HOME": str(self.root.parent)}
        done = subprocess.run(
            ["git", "-C", str(self.root), *name, *words], capture_output=True, text=True, env=environment, check=False
        )
        assert done.returncode == 0, f"git {' '.join(words)}: {done.stderr}"
        return done.stdout.strip()

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.root / name).read_text()
        assert old in text, f"{name}: no {old!r}"
        self.write(name, text.replace(old, new, 1))

    def commit(self, message: str, *, author: str = "octocat") -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message, author=author)
        return self.head

    def init(self, *words: str) -> None:
        for name in ("policy", "support"):
            shutil.copytree(ROOT / "engine/tests" / name, self.root / "engine/tests" / name)
        self.commit("What init reads")
        argv = [sys.executable, "-c", "import sys; from sluice.cli import main; sys.exit(main())", "init", *words]
        paths = os.pathsep.join(str(self.root / name) for name in ("src", "engine/src"))
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.root.parent), "PYTHONPATH": paths}
        done = subprocess.run(argv, cwd=self.root, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        shutil.rmtree(self.root / "engine/tests")

    def push(self) -> None:
        self.git("push", "--quiet", "origin", "HEAD:main")

    def branch(self, name: str) -> None:
        self.git("checkout", "--quiet", "-B", name, self.base)

    def edit_prompt(self, branch: str, message: str, words: str = "one or two", *, author: str = "octocat") -> str:
        """Commit an edited prompt on a new branch at the base."""
        self.branch(branch)
        self.edit(PROMPT, "the one or two", words)
        return self.commit(message, author=author)


def tracked() -> list[str]:
    words = ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"]
    listed = subprocess.run(words, capture_output=True, check=True).stdout.decode().split("\0")
    return [name for name in listed if name and not name.startswith(LEFT_OUT) and (ROOT / name).is_file()]


def repository(*, private: bool = False, branch: str = "main") -> dict[str, Any]:
    owner = {"login": "octo"}
    return {"full_name": REPOSITORY, "name": "app", "default_branch": branch, "owner": owner, "private": private}


def pull_request(
    scratch: Scratch, *, title: str = "A change", body: str = "", branch: str = "change", private: bool = False
) -> dict[str, Any]:
    place = repository(private=private)
    pull = {
        "number": 7,
        "title": title,
        "body": body,
        "user": {"login": "octocat"},
        "base": {"ref": "main", "sha": scratch.base, "repo": place},
        "head": {"ref": branch, "label": f"octo:{branch}", "sha": scratch.head, "repo": place},
    }
    return {"action": "synchronize", "number": 7, "pull_request": pull, "repository": place}


def pushed(
    scratch: Scratch, *, message: str = "A change", author: str = "octocat", private: bool = False, branch: str = "main"
) -> dict[str, Any]:
    commit = {"id": scratch.head, "message": message, "author": {"name": author, "email": "octocat@example.invalid"}}
    return {
        "ref": f"refs/heads/{branch}",
        "before": scratch.base,
        "after": scratch.head,
        "head_commit": commit,
        "commits": [commit],
        "repository": repository(private=private, branch=branch),
        "pusher": {"name": author},
    }


def dispatched(**inputs: str) -> dict[str, Any]:
    return {"ref": "refs/heads/main", "inputs": inputs, "repository": repository()}
