"""Writes a folder of Markdown pages with traps for an import and a chunker: the same pages from the same seed."""

import random
from pathlib import Path

_WORDS = (
    "the", "mooring", "of", "a", "pier", "holds", "when", "oak", "piles", "stand", "in", "silt", "and", "by", "two",
)  # fmt: skip
AWS = "AKIA" + "QWERTYUIOPASDFGH"  # a secret that is none
PROXY = "http://user:password" + "@localhost:8030"  # an example that a person allows


class Writer:
    """Blocks of Markdown, each with its own words."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.number = 0

    def words(self, fewest: int, most: int) -> str:
        self.number += 1
        return " ".join([f"w{self.number}", *self.dice.choices(_WORDS, k=self.dice.randint(fewest, most))])

    def prose(self) -> str:
        return "\n".join(f"{self.words(8, 20).capitalize()}." for _ in range(self.dice.randint(2, 6)))

    def fence(self, mark: str = "```") -> str:
        inner = f"~~~\n# {self.words(2, 4)}\n~~~\n" if mark == "````" else ""
        lines = "\n\n".join(f"# {self.words(2, 6)}\nrun --mooring {n}" for n in range(self.dice.randint(1, 4)))
        return f"{self.words(3, 6)}:\n\n{mark}sh\n{inner}{lines}\n{mark}"

    def indented(self) -> str:
        return f"{self.words(3, 6)}:\n\n    # {self.words(2, 4)}\n\n    moor()"

    def items(self) -> str:
        depths = [0, *(self.dice.randint(0, 3) for _ in range(self.dice.randint(2, 9)))]
        deepest = [0]
        for depth in depths[1:]:
            deepest.append(min(depth, deepest[-1] + 1))
        return "\n".join(f"{'  ' * depth}- {self.words(4, 14)}. (Default {depth})" for depth in deepest)

    def table(self) -> str:
        rows = "\n".join(f"| {self.words(1, 4)} | `a \\| b` |" for _ in range(self.dice.randint(2, 12)))
        return f"| option | default |\n|---|:-:|\n{rows}"

    def odd(self) -> str:
        return self.dice.choice(
            (
                f"<details><summary>{self.words(2, 3)}</summary>\n\n{self.prose()}\n\n</details>",
                f"Setext {self.words(2, 4)}\n------\n\n{self.prose()}",
                f"See [{self.words(1, 3)}](https://example.org/a_(b)?c=d), and more[^1].\n\n[^1]: {self.words(8, 12)}.",
                f"> {self.prose()}",
                f"###### {self.words(1, 3)}\n\n####### {self.words(6, 9)}",
                "موانئ البحر " * 12 + f"{self.number}",
                "港の杭は五十年持つ。" * 9 + f"{self.number}",
            )
        )

    def page(self) -> str:
        blocks = (self.prose, self.prose, self.fence, lambda: self.fence("~~~"), lambda: self.fence("````"))
        blocks += (self.indented, self.items, self.table, self.odd)
        parts = [f"# {self.words(1, 4)}"]
        for _ in range(self.dice.randint(2, 6)):
            parts += [f"{'#' * self.dice.randint(2, 4)} {self.words(1, 4)}"]
            parts += [self.dice.choice(blocks)() for _ in range(self.dice.randint(1, 4))]
        return "\n\n".join(parts) + "\n"


def write_corpus(folder: Path, pages: int, seed: int = 7) -> dict[str, str]:
    """Write that many pages and return, for those that can't come in, a regular expression of the reason."""
    writer = Writer(seed)
    text = writer.page
    traps: list[tuple[str, str | bytes, str]] = [
        ("yaml.md", f"---\ntitle: Piers\ndate: 2024-01-02\ntags: [a]\n---\n{text()}", ""),
        ("toml.md", f'+++\ntitle = "Moles"\n+++\n{text()}', ""),
        ("json.md", '{\n  "title": "Quays"\n}\n' + text(), ""),
        ("broken-yaml.md", f"---\ntitle: [\n---\n{text()}", "front matter is not valid YAML"),
        (
            "broken-date.md",
            f"---\ntitle: Piers\ndate: 2024-13-45\n---\n{text()}",
            "front matter is not valid YAML.*month",
        ),
        ("broken-toml.md", f"+++\ntitle =\n+++\n{text()}", "front matter is not valid TOML"),
        ("broken-json.md", '{\n  "title": \n}\n' + text(), ""),  # a page that begins with a brace
        ("rule.md", f"---\n\n{writer.prose()}\n\n---\n\n{text()}", ""),  # two rules are no front matter
        ("open.md", f"---\ntitle: Piers\n\n{text()}", ""),
        ("secret.md", f"{text()}\nThe key is {AWS}.\n", 'secret: AWS Access Key ".*allow:'),
        ("example.md", f"{text()}\nSet {PROXY} or $USER:$PASS.\n", ""),
        ("first.md", (same := text()), ""),
        ("second.md", same, "the same text as .*first.md: remove"),
        ("title-1.md", f"# Piers\n\n{writer.prose()}", ""),
        ("title-2.md", f"# Piers\n\n{writer.prose()}", ""),
        ("A b.md", text(), ""),
        ("a-b.md", text(), "its id would be 'a-b', as that of .*A b.md: rename"),
        ("empty.md", "", "holds no text"),
        ("blank.md", " \n\t\n", "holds no text"),
        ("latin.md", "Café.\n".encode("latin-1"), "not UTF-8 text.*save it as UTF-8"),
        ("utf-16.md", text().encode("utf-16"), "not UTF-8 text.*save it as UTF-8"),
        ("bom.md", b"\xef\xbb\xbf" + text().encode(), ""),
        ("binary.md", bytes(range(256)), "not UTF-8 text"),
        ("nul.md", f"{text()}\x00", "bad encoding: U\\+0000"),
        ("crlf.md", text().replace("\n", "\r\n"), ""),
        ("mac.md", text().replace("\n", "\r"), ""),
        ("breaks.md", f"{text()}\n\fNext\x0bpage\u2028and\x85more.\n\n{text()}", ""),
        ("large.md", (text() * 2000)[: 5 << 20], r"is over \d+ KiB: split it, or raise"),
        ("line.md", f"# Line\n\n{writer.words(9000, 9001)}", ""),
        ("dots.md", f"# Dots\n\n{'w.' * 20_000}", ""),
        ("heading.md", f"# {writer.words(2, 3)}", ""),
        (f"{'long/' * 40}{'n' * 100}.md", text(), "its id is over"),
    ]
    reasons = {}
    for name, content, reason in traps:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        if reason:
            reasons[name] = reason
    for number in range(pages - len(traps)):
        (folder / f"page-{number:03}.md").write_text(text(), encoding="utf-8")
    return reasons
