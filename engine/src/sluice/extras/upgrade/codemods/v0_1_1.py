"""Takes removed settings out of a project, and switches off the parts that `sluice init --without` had cut out."""

from __future__ import annotations

import re
from pathlib import Path

PARTS = ("sweep", "conversations", "connections", "budgets", "status", "deployment_types")
RENAMED = {"evidence": "small_model"}
HELP = {"sentences": 0, "max_doubt": 1}  # of `retrieval` in config/service.yaml, with what held without them
PAGES = ("budgets", "cli", "conversations", "status", "training-plans")  # of engine/docs/reference
KIT, PARTS_OF_KIT = "datakit", ("curation", "importing", "synthetic", "traffic")
IMPORTS = {  # of notebooks
    "sluice.extras.curation.datasheet": "sluice.extras.datakit.dataset",
    "sluice.extras.curation.retained_releases": "sluice.extras.notebook.retained_releases",
}
# What a project without a part has not, beside its engine: a file, or a section of pipelines/params.yaml.
CUT = {
    "calibration": "prompts/judge.prompt.yml",
    "datakit": "prompts/generate.prompt.yml",
    "finetune": "prompts/finetune.prompt.yml",
    "guard": "guard",
    "hosted": "config/hosted.yaml",
    "notebook": "notebooks",
    "redteam": "redteam",
    "sagemaker": "config/sagemaker.yaml",
}
FILES = ("config/budgets.yaml", "config/conversations.yaml")
KEYS = (
    ("pipelines/params.yaml", ("sweep",)),
    ("pipelines/params.yaml", ("train", "share")),
    ("pipelines/params.yaml", ("train", "join")),
    ("config/service.yaml", ("limits", "connections")),
    ("config/gates.yaml", ("comparison", "metrics", "toxicity")),
    ("config/gates.yaml", ("drift",)),
)
CHECKS = ("toxicity",)  # of config/guardrails.yaml
_BINARY = r"(?:oversampling: *\d+|index: *(?:binary|full))"  # of config/stores.yaml; `partition_by` is left to a person


def apply(root: Path) -> list[str]:
    """Return the paths that were changed, which the engine of 0.1.0 asks for."""
    changed = [path for path in FILES if (root / path).exists()]
    for path in changed:
        (root / path).unlink()
    code = [*root.glob("notebooks/*.ipynb"), *root.glob("src/**/*.py")]
    own = [path.relative_to(root).as_posix() for path in code]
    own += [path.relative_to(root).as_posix() for path in (*root.glob("*.md"), *root.glob("docs/**/*.md"))]
    for path in ("config/project.yaml", "config/guardrails.yaml", "config/stores.yaml", *dict(KEYS), *own):
        if (root / path).is_file():
            text = (root / path).read_text(encoding="utf-8")
            edited = _edited(path, text)
            if path == "config/project.yaml":
                edited = _with_parts_off(root, edited)
            if edited != text:
                (root / path).write_text(edited, encoding="utf-8")
                changed.append(path)
    return changed


def _edited(path: str, text: str) -> str:
    if path == "config/project.yaml":
        return re.sub(r"(?m)^without: *\[.*\]", _kept, text)
    if path.endswith(".ipynb"):
        return re.sub("|".join(map(re.escape, IMPORTS)), lambda name: IMPORTS[name[0]], text)
    if path == "config/guardrails.yaml":
        return without_checks(text)
    if path == "config/stores.yaml":
        return without_binary(text)
    if path.endswith(".md"):
        return re.sub(rf"\[([^\]]+)\]\([./]*engine/docs/reference/(?:{'|'.join(PAGES)})\.md[^)]*\)", r"\1", text)
    if path.endswith(".py"):
        for key, value in HELP.items():  # a part that is off has no settings
            text = re.sub(
                rf"\b((?:\w+\.)*settings)\.retrieval\.{key}\b",
                rf'getattr(\1.small_model, "{key}", {value})',
                text,
            )
        return text
    if path == "config/service.yaml":
        text = with_small_model(text)
    for place in (place for of, place in KEYS if of == path):
        text = cut(text, place)
    return text


def _kept(without: re.Match[str]) -> str:
    names = [RENAMED.get(name, name) for name in re.findall(r"[a-z_]+", without[0])[1:]]
    whole = [KIT] if {*names} >= {*PARTS_OF_KIT} else []
    return f"without: [{', '.join([*whole, *(name for name in names if name not in PARTS + PARTS_OF_KIT)])}]"


def _with_parts_off(root: Path, text: str) -> str:
    line = re.search(r"(?m)^without: *\[(.*)\]", text)
    named = re.findall(r"[a-z_]+", line[1]) if line else []
    params = root / "pipelines/params.yaml"
    sections = params.read_text(encoding="utf-8") if params.is_file() else ""
    cut_out = {
        name for name, sign in CUT.items() if not (root / sign).exists() and not re.search(rf"(?m)^{sign} *:", sections)
    }
    names = ", ".join(sorted({*named, *cut_out}))
    if not cut_out - {*named}:
        return text
    if line:
        return f"{text[: line.start()]}without: [{names}]{text[line.end() :]}"
    return f"{text.rstrip(chr(10))}\nwithout: [{names}]\n"


def without_checks(text: str) -> str:
    """Cut the removed checks out of the lists of stages, in block style."""
    return re.sub(rf"(?m)^( *)- check: *(?:{'|'.join(CHECKS)}) *(?:#.*)?\n(?:\1 +\S.*\n?)*", "", text)


def without_binary(text: str) -> str:
    """Cut the settings of binary vector indexes, in block style and in flow style."""
    text = re.sub(rf"(?m)^ +{_BINARY} *(?:#.*)?\n", "", text)
    text = re.sub(rf", *{_BINARY}(?= *[,}}])|(?<={{){_BINARY}, *|(?<={{){_BINARY}(?=}})", "", text)
    return re.sub(r"(?m)^( +)vectors: *(?:#.*)?\n(?!\1 )", "", text)


def with_small_model(text: str) -> str:
    """Move the help for a small model out of `retrieval`, in block style and in flow style."""
    help = {key: found[1] for key in HELP if (found := re.search(rf"(?m)[ {{]{key} *: *([\d.]+)", text))}
    if not help or re.search(r"(?m)^small_model *:", text):
        return text
    for key in help:
        text = cut(text, ("retrieval", key))
        text = re.sub(rf", *{key} *: *[\d.]+|{key} *: *[\d.]+, *", "", text)
    values = "".join(f"  {key}: {value}\n" for key, value in (HELP | help).items())
    return f"{text.rstrip(chr(10))}\nsmall_model:\n{values}"


def cut(text: str, place: tuple[str, ...]) -> str:
    """Cut a key of a YAML file in block style, with everything below it."""
    lines = text.splitlines(keepends=True)
    indents = [len(line) - len(line.lstrip(" ")) for line in lines]
    at, end, indent = -1, len(lines), -1
    for key in place:
        numbers = (n for n in range(at + 1, end) if indents[n] > indent and re.match(rf" *{key} *:", lines[n]))
        if (at := next(numbers, -1)) < 0:
            return text
        indent = indents[at]
        end = next((n for n in range(at + 1, end) if lines[n].strip() and indents[n] <= indent), end)
    return "".join(lines[:at] + lines[end:])
