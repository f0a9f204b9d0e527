"""Checks of texts: their base class, their resources, and the registry of all checks.

A check says what it finds; config/guardrails.yaml says what is done about it (block, redact, annotate, …).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar, get_args

from propcache.api import cached_property

from sluice.core.errors import SluiceError
from sluice.core.extras import packages
from sluice.core.registry import APPLICATION, Registry
from sluice.core.settings import Settings
from sluice.guardrails.reading import Reading
from sluice.guardrails.text_normalization import NormalizedText, normalize_text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Found = TypeVar("Found")


class BoundedCache(dict[str, Found]):
    """Values by text, up to `size`; the oldest is forgotten first. Safe for many threads."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._changing = Lock()

    def __setitem__(self, text: str, found: Found) -> None:
        with self._changing:
            super().__setitem__(text, found)
            if len(self) > self._size:
                del self[next(iter(self))]


GUARD_FILE = "guard.safetensors"  # of the guard model, in build/guard/ and in a release
_EMBEDDED = 512  # of 1.5 KiB each
Embed = Callable[[Sequence[str]], "npt.NDArray[np.float32]"]


class PartMargin(NamedTuple):
    """A part of a text, how suspicious its wording is (any number, larger for an attack), and among how many parts."""

    margin: float
    part: str
    among: int = 1


class GuardModel(Protocol):
    """The guard model of the extra `guard`. Safe for many threads.

    `threshold`: probability from which a text is taken for an attack; `embedder`: sha256 of the embedder's weights that
    it was trained with.
    """

    @property
    def threshold(self) -> float: ...

    @property
    def embedder(self) -> str: ...

    def judged(self, texts: Sequence[str]) -> list[PartMargin]:
        """Judge the wording of every part of the texts, the most suspicious first."""

    def in_doubt(self, judged: Sequence[PartMargin]) -> Sequence[PartMargin]:
        """Return the parts whose embedding decides."""

    def probability(self, judged: Sequence[PartMargin], embed: Embed) -> float:
        """Return P(attack) of the most suspicious part."""


@dataclass(frozen=True)
class CheckResources:
    """Resources of checks beside the text.

    Attributes:
        model: the guard model.
        embed: unit-length rows, one for each text.
        instructions: the application's own instructions to the model.
        embedded: embeddings of the last parts that were in doubt.
    """

    model: GuardModel | None = None
    embed: Embed | None = None
    instructions: tuple[str, ...] = ()
    embedded: BoundedCache[npt.NDArray[np.float32]] = field(
        default_factory=lambda: BoundedCache(_EMBEDDED), compare=False
    )

    def require_model(self, check: str) -> GuardModel:
        if self.model is None:
            raise SluiceError(
                f"config/guardrails.yaml: {check} needs the guard model, and there is none",
                remedy="run the guard stage (`sluice guard train`), or take the check out of config/guardrails.yaml",
            )
        return self.model

    def require_embed(self, check: str) -> Embed:
        if self.embed is None:
            raise SluiceError(f"config/guardrails.yaml: {check} needs the embedder, and there is none here")
        return self.embed


class CheckContext:
    """A text under check, for one call: it isn't shared between threads. `earlier`: what was said before a question;
    `links`: addresses in an answer that its passages state."""

    def __init__(
        self, text: str, resources: CheckResources, earlier: tuple[str, ...] = (), links: tuple[str, ...] = ()
    ) -> None:
        self.text, self.earlier, self.links = text, earlier, links
        self._resources = resources

    def of(self, text: str) -> CheckContext:
        return CheckContext(text, self._resources)

    @cached_property
    def normalized(self) -> NormalizedText:
        return normalize_text(self.text)

    @property
    def readings(self) -> tuple[Reading, ...]:
        return self.normalized.readings

    @cached_property
    def attack(self) -> float:
        """The probability, by the guard model, that one reading of the text is an attack."""
        model, embed = self._resources.require_model("attack"), self._resources.require_embed("attack")
        known = self._resources.embedded
        fresh: dict[str, npt.NDArray[np.float32]] = {}

        import numpy as np  # the command line reads settings of checks without it

        def embedded(parts: Sequence[str]) -> npt.NDArray[np.float32]:
            vectors = {part: known.get(part) for part in parts}
            if unknown := [part for part, vector in vectors.items() if vector is None]:
                fresh.update(zip(unknown, embed(unknown), strict=True))
            return np.array([fresh.get(part, vector) for part, vector in vectors.items()])

        found = model.probability(self._judged, embedded)
        if not 0 <= found <= 1:  # a NaN would be below every threshold
            raise ValueError(f"the guard model said {found!r}, which is no probability")
        for part, vector in fresh.items():  # not before: what gave no probability is asked for again
            known[part] = vector
        return found

    @property
    def waits(self) -> bool:
        doubted = self._resources.require_model("attack").in_doubt(self._judged)
        return not all(one.part in self._resources.embedded for one in doubted)

    @cached_property
    def _judged(self) -> list[PartMargin]:
        return self._resources.require_model("attack").judged([reading.text for reading in self.readings])

    @cached_property
    def vector(self) -> npt.NDArray[np.float32]:
        """The embedding of the plainest reading."""
        plainest = self.readings[0].text if self.readings else self.text[:1]
        found: npt.NDArray[np.float32] = self._resources.require_embed("topic")([plainest])[0]
        return found


Action = Literal["block", "redact", "annotate", "drop", "reask"]
WHOLE: tuple[Action, ...] = ("block", "drop", "annotate", "reask")
SPANS: tuple[Action, ...] = ("block", "redact", "drop", "annotate", "reask")


@dataclass(frozen=True)
class Finding:
    """A fault at text[start:end]. `reason` is a code, `<check>.<kind>`; it holds no text and is safe to log."""

    reason: str
    start: int
    end: int


class NoOptions(Settings): ...


class Check:
    """A check: an instance for each stage of config/guardrails.yaml that lists it, used by many threads.

    Attributes:
        name: as config/guardrails.yaml lists it, and the first part of its reasons.
        options_model: the model that its options are validated with.
        actions: those that make sense, such as `WHOLE`, without redaction, for a check that judges a text as a whole.
        whole_answers: it judges whole answers, not sentences: an answer is held back until it is whole.
        needs_model: it needs the guard model.
        needs_embedder: it needs the embedder.
    """

    name: str
    options_model: type[Settings] = NoOptions
    actions: tuple[Action, ...] = SPANS
    whole_answers: bool = False
    needs_model: bool = False
    needs_embedder: bool = False

    def __init__(self, options: Any, resources: CheckResources) -> None:
        """Prepare what doesn't depend on the text.

        Args:
            options: an instance of `options_model`.
            resources: what a check may use beside the text.

        Raises:
            SluiceError: `resources` lacks what the check needs.
        """
        self.options = options
        self.resources = resources

    def find(self, context: CheckContext) -> list[Finding]:
        """Return all findings in a text, without I/O."""
        raise NotImplementedError(f"{type(self).__name__} has no find")


class PatternCheck(Check):
    """A check that searches one reading of the text at a time; each finding is told once, where the text has it."""

    def find_in(self, text: str) -> list[Finding]:
        """Return all findings in one reading."""
        raise NotImplementedError(f"{type(self).__name__} has no find_in")

    def find(self, context: CheckContext) -> list[Finding]:
        found = {
            Finding(each.reason, *reading.original(each.start, each.end)): None
            for reading in context.readings
            for each in self.find_in(reading.text)
        }
        return list(found)


CHECKS: Registry[type[Check]] = Registry(
    "check", "sluice.guardrails.checks", *packages("checks"), f"{APPLICATION}.guardrails"
)
C = TypeVar("C", bound=type[Check])


def check(cls: C) -> C:
    """Class decorator: config/guardrails.yaml may list this subclass of `Check`.

    Raises:
        SluiceError: it has no name, its name is taken, or it allows an action that does not exist.
    """
    if not getattr(cls, "name", ""):
        raise SluiceError(f"{cls.__module__}: {cls.__name__} does not say its name")
    if unknown := set(cls.actions) - set(get_args(Action)):
        raise SluiceError(f"{cls.__module__}: {cls.__name__}: actions: {', '.join(sorted(unknown))}: not an action")
    CHECKS.add(cls.name, cls, cls.__module__)
    return cls


@dataclass(frozen=True)
class GuardOutcome:
    """The verdict of a stage. `reasons` are the sorted codes of all findings, also of those that are only noted."""

    text: str  # may go on: redacted where asked, empty when blocked
    blocked: bool
    reasons: tuple[str, ...]
    reask: bool = False  # refused, but the model may be asked once more


class Checks(Protocol):
    async def check_input(self, text: str, earlier: Sequence[str] = ()) -> GuardOutcome: ...

    async def check_passage(self, text: str) -> GuardOutcome: ...

    async def check_output(self, text: str, links: Sequence[str] = ()) -> GuardOutcome: ...


def redacted(text: str, spans: Iterable[tuple[int, int, str]]) -> str:
    """Replace each span by a label of its kind; of spans that overlap the first, then longest, names the whole."""
    pieces: list[str] = []
    done = 0
    for start, end, reason in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= done:
            kind = reason.rpartition(".")[2].replace("_", " ")
            pieces += [text[done:start], f"[redacted: {kind}]"]
        done = max(done, end)
    return "".join([*pieces, text[done:]])
