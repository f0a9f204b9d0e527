"""One set of names for another, in texts and in paths: pure, in one pass, by the same rules in every file.

A name is `some_name` in code and metrics, `some-name` in Kubernetes, addresses and on the command line, `SOME_NAME` in
variables, `SomeName` in classes and `Some Name` in prose. For a name of one word the first two are the same; then what
stands around it decides which one takes its place. Words that merely contain a name are other words and stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch

from sluice.core.errors import SluiceError
from sluice.template.names import RECORD, Names

# The history and the licence are the template's; data are named by their content; locks are written by their compiler.
KEPT = ("CHANGELOG.md", "LICENSE", RECORD, "data.dvc", "dvc-store/*", "engine/requirements/*.txt")
# Every whole word there means an environment. Elsewhere it may mean something else: a release is staged, too.
_DEPLOYING = (".github/", "engine/aws/", "k8s/overlays/")
# Left of a name: no letter or digit, unless it ends an escape such as the one for the edge of a word.
_LEFT = r"(?:(?<![A-Za-z0-9])|(?<=\\[bnrt]))"
_RIGHT = r"(?![A-Za-z0-9])"
# Where a lone word is the package: behind these, before a part of a longer word, and before a dot and what it holds.
_BEHIND = ("src/", '"src" / "', "import ", "def ", 'getLogger("', 'packages = ["', 'root_package = "', "_")
Rule = tuple[str, str, str]  # which of the names, its pattern, what takes its place


class Renamer:
    """From the names `old` to `new`."""

    def __init__(self, old: Names, new: Names) -> None:
        self._old, self._new = old, new
        self._rules = list(_rules(old, new))
        self._everywhere = _pattern(self._rules)
        pairs = zip(old.environments, new.environments, strict=True)
        words = [("environments", rf"(?<![\w./-]){was}(?![\w/-])", becomes) for was, becomes in pairs]
        self._deploying_rules = [*self._rules, *words]
        self._deploying = _pattern(self._deploying_rules)
        forms = (old.package, old.name, old.title, old.class_name, old.organisation, old.image, old.region)
        self._hints = [one.lower() for one in (*forms, *old.environments)]

    def path(self, path: str) -> str:
        """Where a file goes."""
        return path if keeps(path) else self._replace(self._everywhere, self._rules, path)

    def text(self, path: str, text: str) -> str:
        """What becomes of the text of the file with this (old) path."""
        if keeps(path):
            return text
        if path.startswith(_DEPLOYING):
            return self._replace(self._deploying, self._deploying_rules, text)
        return self._replace(self._everywhere, self._rules, text)

    def require_free(self, texts: Mapping[str, str]) -> None:
        """SluiceError when a new name is a word of these texts already: afterwards nobody could tell the two apart."""
        changed = {self._new.name: "name", **dict.fromkeys(self._new.environments, "environments")}
        for same in (self._old.name, *self._old.environments):
            changed.pop(same, None)
        for word, key in changed.items():
            rules = [rule for rule in _rules(self._new, self._old) if rule[0] == key]
            pattern = _pattern([rule for rule in rules if word in rule[1] or key == "name"])
            taken = [path for path, text in texts.items() if not keeps(path) and pattern.search(text)]
            if taken:
                raise SluiceError(
                    f"--{key} {word}: a word of the repository already, in {len(taken)} files such as {taken[0]}",
                    remedy="choose one that is not, for example with your team's name before it",
                )

    def _replace(self, pattern: re.Pattern[str], rules: Sequence[Rule], text: str) -> str:
        lines = text.split("\n")
        for number, line in enumerate(lines):
            lower = line.lower()
            if any(hint in lower for hint in self._hints):  # most lines have no name: ten times quicker
                lines[number] = pattern.sub(lambda found: rules[int(str(found.lastgroup)[1:])][2], line)
        return "\n".join(lines)


def keeps(path: str) -> bool:
    """Whether a file is left as it is."""
    return any(fnmatch(path, one) for one in KEPT)


def _rules(old: Names, new: Names) -> Iterator[Rule]:
    """The first that fits counts, so longer ones come first."""
    slug = rf"{old.organisation}/{old.name}"
    yield "image", rf"(?<![\w./-]){re.escape(old.image)}(?![\w/-])", new.image
    yield "organisation", rf"(?<![\w.-]){slug}(?![\w-])", new.repository
    yield "organisation", rf"(?<![\w.]){re.escape('@' + old.organisation)}(?=/\w)", f"@{new.organisation}"
    yield "region", rf"(?<![\w-]){old.region}(?![\w-])", new.region
    if old.package == old.name:
        word = f"{old.name}{_RIGHT}"
        for before in _BEHIND:
            yield "name", rf"(?<={re.escape(before)}){word}", new.package
        # Not before the ending of a file or the rest of a host, such as name.yaml and name.staging.example.com.
        yield (
            "name",
            rf"{_LEFT}{old.name}(?=[_(]| import |\.(?!(?:ya?ml|json|md)\b|[\w.-]*example\.)[a-z_{{])",
            new.package,
        )
    else:
        yield "name", rf"{_LEFT}{old.package}{_RIGHT}", new.package
    yield "name", rf"{_LEFT}{old.name}{_RIGHT}", new.name
    yield "name", rf"{_LEFT}{old.variable}{_RIGHT}", new.variable
    if old.title == old.class_name:
        yield "name", rf"{_LEFT}{old.class_name}(?=[A-Z])", new.class_name
    else:
        yield "name", rf"{_LEFT}{old.class_name}(?![a-z0-9])", new.class_name
    yield "name", rf"{_LEFT}{old.title}{_RIGHT}", new.title
    for name, becomes in zip(old.environments, new.environments, strict=True):
        places = "|".join(
            (
                rf"(?<=overlays/){name}(?![\w-])",
                rf"(?<=-){name}(?!\w)",
                rf"(?<=--env ){name}(?![\w-])",
                rf"(?<=environment: ){name}(?![\w-])",
                rf"(?<=environment:){name}(?![\w-])",
                rf"(?<=k8s/){name}(?=\.yaml)",
                rf"(?<=\.){name}(?=\.example\.)",
                rf"(?<=[\"'`]){name}(?=[\"'`])",
            )
        )
        yield "environments", places, becomes


def _pattern(rules: Sequence[Rule]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?P<r{number}>{pattern})" for number, (_, pattern, _) in enumerate(rules)))
