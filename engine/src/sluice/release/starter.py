"""The trained starter: adapter, guard model and recorded answers that `starter.dvc` hands out by digest.

A stage takes its files in place of training if data, parameters, base models and the recipe (`meta.recipe` of the stage
in pipelines/dvc.yaml) are the same. Code changes with every commit and isn't compared; the nightly rebuild shows that
the files can still be made. `SLUICE_REBUILD=yes` takes nothing."""

from __future__ import annotations

import configparser
import gzip
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import Field

from sluice.core.atomic_files import read_json, write_atomic
from sluice.core.digests import digest_of, digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.settings import Settings, read_yaml, validated
from sluice.core.workspace import Workspace
from sluice.evaluation.response_cache import ResponseCache, rebuilding, responses_folder

POINTER = "starter.dvc"
# Of each stage, what it would otherwise train: files below build/ and, by the same names, below starter/.
FILES = {
    "train": ("adapter/adapter.gguf", "adapter/training.json", "adapter/loss.csv"),
    "guard": ("guard/guard.safetensors", "guard/report.json"),
}
_ANSWERS = "responses.jsonl.gz"
# Entries of the response cache by a key of their value. Scores are computed on every machine.
_HANDED_OUT = ("finish_reason", "hits", "blocked", "ttft_ms")


class StarterRecord(Settings):
    """`meta` of starter.dvc. `made_from`: digests of inputs by stage; `files`: sha256 by name."""

    engine: str
    made: str
    machine: dict[str, Any]
    made_from: dict[str, dict[str, str]]
    files: dict[str, str] = Field(min_length=1)


def take(workspace: Workspace, stage: str, *, to_try: bool = False) -> bool:
    """Put the starter's files of a stage into build/ if it would train them from the same, or only to try something.
    Otherwise print why not."""
    record = _record(workspace)
    if record is None or stage not in record.made_from:
        return False
    if changed := _changed(workspace, record, stage):
        then = "taking the starter's files; `make release` trains" if to_try else "training"
        _say(f"{stage}: {', '.join(changed)} changed since the starter was trained: {then}")
        if not to_try:
            return False
    try:
        found = {name: _find(workspace, record, name) for name in FILES[stage]}
    except SluiceError as error:
        _say(f"{stage}: {error.message}: training")
        return False
    for name, path in found.items():
        write_atomic(workspace.build / name, path.read_bytes())
    same = "" if changed else " from the same data and parameters"
    _say(f"{stage}: took the starter's files, made by Sluice {record.engine}{same}")
    return True


def fits(workspace: Workspace) -> bool:
    """Return whether `take` will probably succeed for every stage. Data that aren't here yet count as unchanged."""
    if (record := _record(workspace)) is None:
        return False
    return not workspace.data.is_dir() or not any(_changed(workspace, record, stage) for stage in _trained(workspace))


def place_responses(workspace: Workspace) -> None:
    """Put the starter's recorded answers into the response cache, once."""
    record = _record(workspace)
    sha256 = record.files.get(_ANSWERS) if record else None
    marker = workspace.state / "starter.responses"
    if record is None or sha256 is None or (marker.is_file() and marker.read_text() == sha256):
        return
    try:
        lines = gzip.decompress(_find(workspace, record, _ANSWERS).read_bytes()).splitlines()
    except SluiceError as error:
        _say(f"evaluate: {error.message}: asking every question")
        return
    cache = ResponseCache(responses_folder(workspace.state))
    for line in lines:
        key, value = json.loads(line)
        if cache.get(key) is None:
            cache.put(key, value)
    write_atomic(marker, sha256)


def inputs(workspace: Workspace, stage: str) -> dict[str, str]:
    """Return digests of all that a stage's result depends on, by name; its `recipe` stands for the code.

    For a dependency in build/, they are those of the stage that makes it."""
    stages = read_yaml(workspace.root / "pipelines" / "dvc.yaml")[0]["stages"]
    if stage not in stages:
        return {}
    makers = {
        out if isinstance(out, str) else next(iter(out)): name
        for name, one in stages.items()
        for out in (*one.get("outs", ()), *one.get("metrics", ()))
    }
    asked = stages[stage]
    found = {f"recipe of {stage}": str(asked.get("meta", {}).get("recipe", 0))}
    for path in asked.get("deps", ()):
        if not path.startswith("build/"):
            found[path] = _digest_of_path(workspace.root / path)
        elif makers[path] not in ("code", "check"):
            found |= inputs(workspace, makers[path])
    for file, keys in (item for entry in asked.get("params", ()) for item in entry.items()):
        values = read_yaml(workspace.root / file)[0]
        found |= {f"{file}: {key}": digest_of(values.get(key)) for key in keys}
    return found


def place(workspace: Workspace) -> bool:
    """Make data/ and build/ servable from the starter: no DVC, no training, no question asked. Documents that are in
    data/ already are indexed, and the starter's model answers from them. Return whether they aren't the starter's."""
    from sluice.retrieval import index_stage

    if not workspace.data.is_dir():
        listed = objects(workspace, workspace.root / "data.dvc")
        draft = workspace.data.with_name(f".data-{os.getpid()}")
        for name, path in listed.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, draft / name)
        draft.replace(workspace.data)
    if missing := [stage for stage in _trained(workspace) if not take(workspace, stage, to_try=True)]:
        raise SluiceError(
            f"{POINTER}: the starter has no {' and no '.join(missing)} for what is checked out here",
            remedy="build it: `make release`",
        )
    known = _record(workspace)
    own = known is not None and "data/corpus" in _changed(workspace, known, "train")
    if own or not (workspace.build / "index" / "index.json").is_file():
        index_stage.run(workspace)
    place_responses(workspace)
    return own


def record(workspace: Workspace) -> StarterRecord:
    """Write starter/ from what a rebuild has left in build/ and in its recorded answers."""
    folder, cache = workspace.root / "starter", responses_folder(workspace.state)
    stages = _trained(workspace)
    names = [name for stage in stages for name in FILES[stage]]
    if absent := [str(path) for path in (*(workspace.build / name for name in names), cache) if not path.exists()]:
        raise SluiceError(f"not built here: {', '.join(absent)}", remedy="run `make release REBUILD=yes` first")
    shutil.rmtree(folder, ignore_errors=True)
    for name in names:
        write_atomic(folder / name, (workspace.build / name).read_bytes())
    (folder / _ANSWERS).write_bytes(gzip.compress(_lines(cache), mtime=0))
    trained = read_json(folder / "adapter" / "training.json")
    return StarterRecord(
        engine=version("sluice"),
        made=datetime.now(UTC).date().isoformat(),
        machine={
            **trained["hardware"],
            "system": platform.platform(terse=True),
            "dtype": trained["parameters"]["dtype"],
        },
        made_from={stage: inputs(workspace, stage) for stage in stages},
        files={name: digest_of_file(folder / name) for name in (*names, _ANSWERS)},
    )


def _lines(folder: Path) -> bytes:
    """Return the entries of a response cache that are handed out, one per line, sorted by key."""
    entries = (read_json(path) for path in sorted(folder.glob("*/*.json"), key=lambda path: path.name))
    chosen = (one for one in entries if "sha256" in one and any(key in one["value"] for key in _HANDED_OUT))
    lines = (json.dumps([one["key"], one["value"]], ensure_ascii=False, sort_keys=True) for one in chosen)
    return "\n".join(lines).encode()


def _trained(workspace: Workspace) -> list[str]:
    """Return the stages of this pipeline whose files a starter hands out."""
    stages = read_yaml(workspace.root / "pipelines" / "dvc.yaml")[0]["stages"]
    return [stage for stage in FILES if stage in stages]


def _changed(workspace: Workspace, record: StarterRecord, stage: str) -> list[str]:
    now, then = inputs(workspace, stage), record.made_from.get(stage, {})
    return sorted(name for name in {*now, *then} if now.get(name) != then.get(name))


def _record(workspace: Workspace) -> StarterRecord | None:
    pointer = workspace.root / POINTER
    if rebuilding() or not pointer.is_file():
        return None
    document, lines = read_yaml(pointer)
    return validated(pointer, {"meta": {}, **document}, lines, StarterRecord, "meta")


def _find(workspace: Workspace, record: StarterRecord, name: str) -> Path:
    """Return a file of the starter whose sha256 was checked."""
    path = workspace.root / "starter" / name
    if not path.is_file():
        path = objects(workspace, workspace.root / POINTER).get(name, path)
    if not path.is_file():
        raise SluiceError(f"the starter's {name} is missing", remedy=f"fetch it: `dvc pull {POINTER}`")
    if digest_of_file(path) != record.files[name]:
        raise SluiceError(f"the starter's {name} is damaged ({path})", remedy=f"fetch it again: `dvc pull {POINTER}`")
    return path


def data_of(workspace: Workspace) -> Mapping[str, Path]:
    """Return the files of the starter data by name, if data.dvc still names the documents that the starter knows."""
    try:
        found, record = objects(workspace, workspace.root / "data.dvc"), _record(workspace)
        corpus = {
            name.removeprefix("corpus/"): digest_of_file(path) for name, path in found.items() if "corpus/" in name
        }
    except (SluiceError, OSError):
        return {}
    known = record.made_from.get("train", {}).get("data/corpus") if record else None
    return found if known == digest_of(corpus) else {}


def objects(workspace: Workspace, pointer: Path) -> Mapping[str, Path]:
    """Return the files that a folder's .dvc file names, by name, in a remote that is a local folder."""
    listed = folder_list(workspace, pointer)
    if not listed.is_file():
        raise SluiceError(f"{listed}: the list of {pointer.name} is missing", remedy="restore dvc-store/ with git")
    store = listed.parents[1]
    return {one["relpath"]: store / one["md5"][:2] / one["md5"][2:] for one in json.loads(listed.read_text())}


def folder_list(workspace: Workspace, pointer: Path) -> Path:
    """Return the JSON list of a folder's files in such a remote, in DVC 3's layout: `files/md5/<2 hex>/<30 hex>`."""
    settings = configparser.ConfigParser()
    settings.read([workspace.root / ".dvc" / "config", workspace.root / ".dvc" / "config.local"])
    remote = settings.get("core", "remote", fallback="")
    url = settings.get(f"'remote \"{remote}\"'", "url", fallback="://")
    if "://" in url:
        raise SluiceError(
            f"{pointer.name}: its remote {remote!r} is no local folder", remedy=f"dvc pull {pointer.name}"
        )
    store = (workspace.root / ".dvc" / url / "files" / "md5").resolve()
    md5 = str(read_yaml(pointer)[0]["outs"][0]["md5"])
    return store / md5[:2] / md5[2:]


def _digest_of_path(path: Path) -> str:
    if path.is_dir():
        files: Iterable[Path] = (one for one in path.rglob("*") if one.is_file())
        return digest_of({one.relative_to(path).as_posix(): digest_of_file(one) for one in files})
    return digest_of_file(path) if path.is_file() else "missing"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
