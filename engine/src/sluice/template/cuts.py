"""Cuts parts out of YAML files and leaves the rest as it was written, comments and layout too.

A part is named by the steps that lead to it, such as `jobs > report > needs > =soak`. A step into a mapping is a key;
a step into a list is `=value` for a scalar, `key=value` or `key` for a mapping that has it. The comment right above a
part goes with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

_COMMENT = re.compile(r"\s*#")
_Part = tuple[yaml.Node, yaml.Node]  # where a part begins, and its value


def cut(text: str, steps: str) -> str:
    """The text without all parts that the steps lead to; the same text where there is none."""
    *way, last = steps.split(" > ")
    while True:
        node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
        for step in way:
            node = next((value for _, value in _found(node, step)), None)
        part = next(_found(node, last), None)
        if node is None or part is None:
            return text
        in_one_line = isinstance(node, yaml.SequenceNode) and node.flow_style
        text = _without_item(text, node, part) if in_one_line else _without_lines(text, part)


def _found(node: yaml.Node | None, step: str) -> Iterator[_Part]:
    """The parts of a node that a step names."""
    if isinstance(node, yaml.MappingNode):
        yield from ((key, value) for key, value in node.value if key.value == step)
    elif isinstance(node, yaml.SequenceNode):
        name, equals, wanted = step.partition("=")
        for item in node.value:
            if isinstance(item, yaml.MappingNode):
                values = {key.value: value.value for key, value in item.value}
                if name in values and (not equals or values[name] == wanted):
                    yield item, item
            elif not name and item.value == wanted:
                yield item, item


def _without_lines(text: str, part: _Part) -> str:
    """Cuts the lines of a part in block style, and the comment right above them."""
    lines = text.splitlines(keepends=True)
    first, end = part[0].start_mark.line, _last(part[1]) + 1
    while not lines[end - 1].strip() or _COMMENT.match(lines[end - 1]):  # a block of text ends where the next begins
        end -= 1
    above = re.compile(rf" {{{part[0].start_mark.column - lines[first].lstrip().startswith('- ') * 2}}}#")
    while first and above.match(lines[first - 1]):
        first -= 1
    blank_behind = end == len(lines) or not lines[end].strip()
    if first and blank_behind and not lines[first - 1].strip():
        first -= 1
    elif first and blank_behind and _indent(lines[first - 1]) < _indent(lines[first]):
        end += 1  # it was the first of its kind
    return "".join(lines[:first] + lines[end:])


def _without_item(text: str, node: yaml.Node, part: _Part) -> str:
    """Cuts an item out of a list in flow style."""
    kept = [item for item in node.value if item is not part[0]]
    items = [text[item.start_mark.index : item.end_mark.index] for item in kept]
    return f"{text[: node.start_mark.index]}[{', '.join(items)}]{text[node.end_mark.index :]}"


def _last(node: yaml.Node) -> int:
    """The last line of a node."""
    if not isinstance(node, yaml.CollectionNode) or node.flow_style or not node.value:
        mark = node.end_mark
        return int(mark.line - 1 if mark.column == 0 and mark.line > node.start_mark.line else mark.line)
    leaf = node.value[-1]
    return _last(leaf[1] if isinstance(leaf, tuple) else leaf)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
