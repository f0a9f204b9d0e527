"""Prints prompts in the terminal: what there is, what changed since a commit, and how their tests went."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sluice.core import git
from sluice.evaluation.summary import percentile
from sluice.extras.prompt_tests.run_prompt_tests import PromptRun
from sluice.prompts.prompt import SUFFIX, Prompt, parse_prompts
from sluice.prompts.prompt_diff import MessageChange, PromptChange, ValueChange, diff_prompts

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


def changes_since(root: Path, ref: str, head: Mapping[str, Prompt]) -> tuple[list[PromptChange], set[str]]:
    commit = git.resolve(root, ref)
    contents: dict[str, bytes] = {}
    listed = git.run(root, "ls-tree", "-z", commit, "prompts/")
    for entry in filter(None, listed.split("\0")):
        facts, path = entry.split("\t", 1)
        kind, digest = facts.split()[1:]
        name = path.rpartition("/")[2]
        if kind == "blob" and name.endswith(SUFFIX):
            contents[name] = git.run_bytes(root, "cat-file", "blob", digest)
    base = parse_prompts(ref, {f"{ref}:prompts/{name}": content for name, content in contents.items()})
    folder = root / "prompts"
    edited = {name for name in head if contents.get(f"{name}{SUFFIX}") != (folder / f"{name}{SUFFIX}").read_bytes()}
    return diff_prompts(base, head), edited


_STYLES = {"-": "red strike", "+": "bold green"}
_MARKS = {"-": ("[-", "-]"), "+": ("{+", "+}")}  # as `git diff --word-diff` writes them
_CONTEXT = 1  # unchanged lines shown around a change
_NARROWEST = 20  # columns of text


def print_prompts(prompts: Mapping[str, Prompt]) -> None:
    console = _console()
    width = max((len(name) for name in prompts), default=0)
    for name, prompt in prompts.items():
        variables = ", ".join(v.name if v.required else f"{v.name}?" for v in prompt.variables) or "no variables"
        console.print(f"{name:<{width}}  {prompt.digest[:12]}  {prompt.model:<5}  {variables}", soft_wrap=True)
        _print(console, prompt.description, width + 2)


def markdown_changes(changes: Sequence[PromptChange], *, base: str, edited: Collection[str]) -> str:
    """Return what `print_changes` prints, as Markdown for a job summary."""
    written = StringIO()
    print_changes(changes, base=base, edited=edited, file=written)
    text = written.getvalue().rstrip()
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)  # a prompt may hold a fence of its own
    return f"### Prompts\n\n{fence}\n{text}\n{fence}\n"


def print_changes(
    changes: Sequence[PromptChange], *, base: str, edited: Collection[str], file: IO[str] | None = None
) -> None:
    console = _console(file)
    for change in changes:
        if change.status != "same":
            _print_change(console, change)
        elif change.name in edited:
            what = ", ".join(change.unseen) or "formatting"
            console.print(f"{change.name}  same version {_short(change.head)}: only {what} edited", soft_wrap=True)
    rest = [change.name for change in changes if change.status == "same" and change.name not in edited]
    if rest:
        console.print(f"as in {base}: {', '.join(rest)}", soft_wrap=True)


def _print_change(console: Console, change: PromptChange) -> None:
    digests = " -> ".join(_short(digest) for digest in (change.base, change.head) if digest)
    console.print(f"{change.name}  {change.status}  {digests}", style="bold", soft_wrap=True)
    if change.status == "changed":
        for value in change.parameters:
            _print(console, _value(value), 2)
        for value in change.variables:
            if value.name == "order":
                _print(console, f"order of variables: {', '.join(value.base)} -> {', '.join(value.head)}", 2)
            else:
                _print(console, f"variable {_value(value)}", 2)
    else:
        _print(console, ", ".join(f"{v.name} {_written(_either(v))}" for v in change.parameters), 2)
        _print(console, f"variables: {', '.join(v.name for v in change.variables) or 'none'}", 2)
    for number, message in enumerate(change.messages, 1):
        console.print(f"  message {number}, {_role(message, change)}", soft_wrap=True)
        if not message.same:
            for line in _lines(message, plain=console.no_color or console.color_system is None):
                _print(console, line, 4)
    if change.unseen:
        _print(console, f"not seen by the model: {', '.join(change.unseen)}", 2)
    console.print()


def _role(message: MessageChange, change: PromptChange) -> str:
    if message.base_role is None or message.head_role is None:
        fate = "added" if message.base_role is None else "removed"
        return f"{message.head_role or message.base_role}" + (f": {fate}" if change.status == "changed" else "")
    if message.base_role != message.head_role:
        return f"{message.base_role} -> {message.head_role}: changed"
    return f"{message.head_role}: {'same' if message.same else 'changed'}"


def _either(value: ValueChange) -> Any:
    return value.head if value.base is None else value.base


def _value(value: ValueChange) -> str:
    if value.base is None or value.head is None:
        return f"{value.name} {'added' if value.base is None else 'removed'}: {_written(_either(value))}"
    return f"{value.name}: {_written(value.base)} -> {_written(value.head)}"


def _written(value: Any) -> str:
    if isinstance(value, dict):  # a variable
        return f"{value['type']}, {'required' if value['required'] else 'not required'}"
    return f"{value:g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _lines(message: MessageChange, *, plain: bool) -> Iterator[Text]:
    """Yield the changed lines of a message and their neighbours, `…` for the rest."""
    from rich.text import Text

    text, whole = Text(), message.base_role is None or message.head_role is None
    for kind, part in message.pieces:
        kept = whole or kind == " "
        for number, line in enumerate(part.split("\n")):
            if number:
                text.append("\n" if kept else _marked("¶", kind, plain=plain) + Text("\n"))
            if line:
                text.append(line if kept else _marked(line, kind, plain=plain))
    lines = text.split("\n", allow_blank=True)
    changed = {number for number, shown in enumerate(lines) if shown.spans}
    skipped = False
    for number, shown in enumerate(lines):
        near = whole or any(number + step in changed for step in range(-_CONTEXT, _CONTEXT + 1))
        if near:
            yield shown
        elif not skipped:
            yield Text("…")
        skipped = not near


def _marked(part: str, kind: str, *, plain: bool) -> Text:
    from rich.text import Text

    before, after = _MARKS[kind] if plain else ("", "")
    style = f"reverse {_STYLES[kind]}" if part.isspace() else _STYLES[kind]
    return Text.styled(f"{before}{part}{after}", style)


def _print(console: Console, content: Text | str, indent: int) -> None:
    """Print wrapped at words, with every line indented."""
    from rich.text import Text

    text = content if isinstance(content, Text) else Text(content)
    for line in text.wrap(console, max(_NARROWEST, console.width - indent)):
        line.rstrip()
        console.print(Text(" " * indent if line else "") + line, soft_wrap=True)


def _short(digest: str | None) -> str:
    return (digest or "")[:12]


def _console(file: IO[str] | None = None) -> Console:
    from rich.console import Console

    return Console(highlight=False, markup=False, file=file)


_HEAD = ("prompt", "digest", "passed", "failed", "not evaluated", "recorded", "p50 ms")
_LONGEST = 300  # characters of an answer


def print_tests(tested: PromptRun) -> None:
    """Print the results; the last line is `PASSED n/m`."""
    table = [_HEAD, *(_line(tested, name) for name in dict.fromkeys(case.prompt.name for case in tested.cases))]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        first = [cell.ljust(width) for cell, width in zip(row[:2], widths, strict=False)]
        figures = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        print("  ".join([*first, *figures]))
    for note in tested.notes:
        print(f"not asked: {note}")
    for record in tested.records:
        if record["faults"]:
            print(f"{record['id']}: {'; '.join(record['faults'])}")
            if record["answer"] is not None:
                print(f"  answer: {record['answer'][:_LONGEST]!r}")
    print(f"PASSED {tested.passed}/{len(tested.records)}")


def _line(tested: PromptRun, name: str) -> tuple[str, ...]:
    pairs = zip(tested.cases, tested.records, strict=True)
    records = [record for case, record in pairs if case.prompt.name == name]
    passed = sum(not record["faults"] for record in records)
    missed = sum(record["status"] == "not_evaluated" for record in records)
    times = [record["latency_ms"] for record in records if record["latency_ms"] is not None]
    recorded = sum(record["recorded"] for record in records)
    middle = f"{percentile(times, 0.5):.0f}" if times else "-"
    digest = next(case.prompt.digest[:12] for case in tested.cases if case.prompt.name == name)
    counts = (passed, len(records) - passed - missed, missed, recorded)
    return (name, digest, *map(str, counts), middle)
