"""release.json: the parts of a release, pinned by content, and the folder with exactly those parts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from sluice.core.atomic_files import read_json
from sluice.core.digests import canonical_json, digest_of, digest_of_file
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.settings import Settings, validated
from sluice.guardrails.check import GUARD_FILE
from sluice.release.verdict import JUDGEMENT, Judgement, ReleaseId, Sha256, judged

FILE = "release.json"
_AGAIN = "make the release again"
ADAPTER = "adapter.gguf"
# The files of code that can be part of an answer, each with its sha256.
CODE = "code.json"
# What a canary of this release is judged by: the gates and the evaluation cases that the release itself was judged by.
JUDGING = "judging"
JUDGING_GATES = f"{JUDGING}/gates.yaml"
JUDGING_CASES = f"{JUDGING}/eval.jsonl"
GUARD = f"guard/{GUARD_FILE}"
PINNED_FOLDERS = ("prompts", "config", "index", "guard", "peft", JUDGING)

# An image that is named by its content, not by a tag that can be moved.
PINNED = re.compile(r"(?P<name>[^@\s]+)@(?P<digest>sha256:[0-9a-f]{64})")
Image = Annotated[str, Field(pattern=f"^{PINNED.pattern}$")]

# What release.json held of a judgement before there was judgement.json.
_JUDGED = ("created", "commit", "parent", "evaluation", "gates")
_NOT_CONTENT = {"id", "created", "commit"}
# `files` holds bytes; what they mean is in prompts, config, index and adapter: reformatting a prompt changes no answer.
_NOT_SERVED = {*_NOT_CONTENT, *_JUDGED, "files", "load_image"}
_UNIDENTIFIED = "r-" + 12 * "0"


def is_plain(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and path.as_posix() == name


def _plain(files: dict[str, str]) -> dict[str, str]:
    for name in files:
        if not is_plain(name):
            raise ValueError(f"{name!r} is not a plain path inside the release folder")
    return files


# The sha256 of files by their path inside the release folder.
Files = Annotated[dict[str, Sha256], AfterValidator(_plain)]


class DataPin(Settings):
    digest: str


class IndexPin(Settings):
    digest: str
    embedder: dict[str, Any]
    chunker: dict[str, Any]


class ModelPin(Settings):
    """One base model. Its file is in the user's cache; its sha256 is checked before every use."""

    source: str
    sha256: Sha256
    convert: str | None = None
    licence: str


class AdapterPin(Settings):
    sha256: Sha256


class GuardrailsPin(Settings):
    """The digest of config/guardrails.yaml, and the guard model's file."""

    config: str
    model: Sha256 | None


class CodePin(Settings):
    """`serve`: digest over the code that serves a release, and the lock of its libraries."""

    serve: Sha256


@dataclass(frozen=True)
class Images:
    """The images, NAME@sha256:DIGEST, that serve a release and judge it as a canary in a cluster."""

    image: str | None = None
    load_image: str | None = None


class Manifest(Settings):
    """release.json. `files`: sha256 by path of all that serving and the judges of a canary read. `tools`: digest of
    what each tool says of itself. `earlier`: the judgement in an older release.json, whose id is over it too."""

    id: ReleaseId
    prompts: dict[str, str]
    data: DataPin
    index: IndexPin
    models: dict[str, ModelPin]
    adapter: AdapterPin | None
    guardrails: GuardrailsPin | None = None
    code: CodePin | None = None
    tools: dict[str, Sha256] | None = None
    config: dict[str, str]
    files: Files
    image: Image | None = None
    load_image: Image | None = None
    earlier: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _split(cls, document: Any) -> Any:
        if not isinstance(document, dict):
            return document
        if "earlier" in document:
            raise ValueError("'earlier' is no key of release.json")
        if "gates" not in document:
            return document
        content = {key: value for key, value in document.items() if key not in _JUDGED}
        return {**content, "earlier": {key: document[key] for key in _JUDGED if key in document}}

    def content_id(self) -> str:
        """Return the id that this content must have: r- and 12 hex digits over all but the id itself."""
        return f"r-{self._digest(_NOT_CONTENT)[:12]}"

    def served_digest(self) -> str:
        """Return a digest that is equal for two releases that serve the same from the same content."""
        return self._digest(_NOT_SERVED)

    def _digest(self, without: set[str]) -> str:
        return digest_of({key: value for key, value in self.document().items() if key not in without})

    def document(self) -> dict[str, Any]:
        # A release that no image is known of has no such key, and one from before a part was pinned no pin of it: their
        # ids are those of the same content always.
        later = (*Images.__annotations__, "guardrails", "code", "tools")
        unknown = {name for name in later if getattr(self, name) is None}
        return self.model_dump(mode="json", exclude={"earlier", *unknown}) | self.earlier

    def parts(self) -> dict[str, str]:
        """Return the digest of each part that the release has, by what it is."""
        found: dict[str, str | None] = {f"prompt {name}": digest for name, digest in self.prompts.items()}
        found |= {"data": self.data.digest, "index": self.index.digest}
        found |= {f"model {role}": model.sha256 for role, model in self.models.items()}
        found["adapter"] = self.adapter.sha256 if self.adapter else None
        found["guard model"] = self.guardrails.model if self.guardrails else None
        found["code"] = self.code.serve if self.code else None
        found |= {f"config/{name}": digest for name, digest in self.config.items()}
        found |= {f"tool {name}": digest for name, digest in (self.tools or {}).items()}
        images = {"image": self.image, "load image": self.load_image}
        found |= {name: image.partition("@sha256:")[2] for name, image in images.items() if image}
        return {name: digest for name, digest in found.items() if digest}

    def to_bytes(self) -> bytes:
        return canonical_json(self.document())


def identified(fields: Mapping[str, Any]) -> Manifest:
    """Return a manifest of these fields, with the id that follows from its content."""
    manifest = Manifest.model_validate({"id": _UNIDENTIFIED, **fields})
    return manifest.model_copy(update={"id": manifest.content_id()})


def load(folder: Path) -> Manifest:
    """Read release.json and check its form and its id."""
    path = folder / FILE
    manifest = validated(path, read_json(path), {}, Manifest, remedy=_AGAIN)
    if manifest.id != manifest.content_id():
        raise SluiceError(
            f"{path}: says it is {manifest.id}, but its content is {manifest.content_id()}",
            remedy=f"the manifest was changed after it was made; {_AGAIN}",
        )
    return manifest


def load_judgement(folder: Path) -> Judgement:
    """Read judgement.json; an older release has it in release.json."""
    manifest, path = load(folder), folder / JUDGEMENT
    if manifest.earlier:
        fields = {"release": manifest.id, "digest": 64 * "0", **manifest.earlier}
        return judged(validated(folder / FILE, fields, {}, Judgement, remedy=_AGAIN).model_dump())
    judgement = validated(path, read_json(path), {}, Judgement, remedy=_AGAIN)
    if (judgement.release, judgement.digest) != (manifest.id, judgement.content_digest()):
        raise SluiceError(
            f"{path}: its digest is not that of its content, or it is about another release than {manifest.id}",
            remedy=f"it was changed after it was written; {_AGAIN}",
        )
    return judgement


def verify(folder: Path, manifest: Manifest, *, part: str = "") -> None:
    """Compare every pinned file with its sha256, and the pinned folders with the list."""
    faults = []
    for name, expected in sorted(manifest.files.items()):
        if part and not name.startswith(f"{part}/"):
            continue
        path = folder / name
        if not path.is_file():
            faults.append(f"{path}: missing")
        elif (found := digest_of_file(path)) != expected:
            faults.append(f"{path}: sha256 is {found[:16]}…, the manifest pins {expected[:16]}…")
    faults += [f"{folder / name}: not in the manifest" for name in sorted(pinned_files(folder) - manifest.files.keys())]
    adapter = manifest.adapter.sha256 if manifest.adapter else None
    if manifest.files.get(ADAPTER) != adapter:
        faults.append(f"{folder / FILE}: adapter and files disagree about {ADAPTER}")
    guard = manifest.guardrails.model if manifest.guardrails else None
    if manifest.files.get(GUARD) != guard:
        faults.append(f"{folder / FILE}: guardrails and files disagree about {GUARD}")
    if manifest.code and CODE not in manifest.files:
        faults.append(f"{folder / FILE}: code and files disagree about {CODE}")
    if faults:
        raise ValidationErrors(
            f"release {manifest.id}", faults, remedy=f"the folder was changed after it was made; {_AGAIN}"
        )


def pinned_files(folder: Path) -> set[str]:
    """Return the relative paths of files in places where only pinned files may be."""
    found = {f"{name}/{path}" for name in PINNED_FOLDERS for path in files_in(folder / name)}
    return found | {name for name in (ADAPTER, CODE) if (folder / name).exists()}


def replace_record(folder: Path, draft: Path, manifest: Manifest) -> None:
    """Replace a release's judgement by the newer one in a draft, judgement.json last. What serves stays; what was
    written about the earlier judgement, such as a rehearsal, goes."""
    pinned = {FILE, *manifest.files}
    for name in files_in(folder) - {JUDGEMENT, *pinned}:
        (folder / name).unlink()
    for name in sorted(files_in(draft) - pinned, key=lambda name: name == JUDGEMENT):
        (folder / name).parent.mkdir(exist_ok=True)
        (draft / name).replace(folder / name)


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
