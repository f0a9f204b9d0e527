"""The pictures of README.md, each from a real run: `.venv/bin/python engine/benchmarks/readme_pictures.py`.

In a clone with the starter promoted, a prompt that makes answers worse is compared with the one before it, and its
pull-request comment is drawn by Chromium; a canary that answers with errors is rehearsed, and its log goes into
README.md. Takes some minutes. The clone stays in build/readme-pictures.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "engine" / "tests"))

from sluice.core.atomic_files import write_atomic  # noqa: E402
from support.checkout import Checkout  # noqa: E402 - found by the line above
from unit.serving.browser import Browser, find_browser  # noqa: E402

CLONE = ROOT / "build" / "readme-pictures" / "clone"
PICTURE = ROOT / "docs" / "images" / "pull-request-comment.png"
README = ROOT / "README.md"
EDIT = ("Answer the question with the one or two\n      sentences of the passages that say it.", "Answer in one word.")
STYLE = """
body { font: 14px/1.5 system-ui, sans-serif; color: #1f2328; margin: 24px; width: 1052px }
h2 { border-bottom: 1px solid #d1d9e0; padding-bottom: 6px }
code { background: #eff1f3; padding: 2px 5px; border-radius: 6px }
table { border-collapse: collapse } td, th { border: 1px solid #d1d9e0; padding: 5px 12px } details { margin: 10px 0 }
blockquote { border-left: 4px solid #d1d9e0; margin: 0; padding: 0 14px; color: #59636e }
main { border: 1px solid #d1d9e0; border-radius: 6px; padding: 4px 20px }
"""


def main() -> int:
    program = find_browser()
    if program is None:
        sys.exit("no Chromium on this machine: install one, or name it in SLUICE_CHROMIUM")
    if not CLONE.exists():  # one that is there has its release already
        CLONE.parent.mkdir(parents=True, exist_ok=True)
        Checkout(ROOT, CLONE)
    clone = Checkout.__new__(Checkout)
    clone.root = CLONE
    if not clone.live:
        assert clone.release().verdict == "promoted"
    draw(worse_prompt(clone), program)
    write_atomic(README, with_log(README.read_text(), stopped_canary(clone)))
    return 0


def worse_prompt(clone: Checkout) -> str:
    """The comment on a pull request that asks for answers of one word."""
    prompt = CLONE / "prompts" / "answer.prompt.yml"
    before = prompt.read_text()
    assert EDIT[0] in before, "the prompt no longer says what this edit replaces"
    prompt.write_text(before.replace(*EDIT))
    try:
        clone.run("eval", "--base", "HEAD")
    finally:
        prompt.write_text(before)
    return (CLONE / "build" / "comparison" / "comment.md").read_text()


def draw(comment: str, program: str) -> None:
    """Render Markdown roughly as GitHub does, and take a picture of its beginning."""
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(comment)
    page = CLONE.parent / "comment.html"
    page.write_text(f"<!doctype html><meta charset=utf-8><style>{STYLE}</style><main>{html}</main>")
    with Browser(program) as browser:
        browser.look(width=1100, height=640)
        browser.open(page.as_uri())
        browser.shoot(PICTURE)


def stopped_canary(clone: Checkout) -> str:
    """The log of a canary whose every second answer is an error."""
    clone.change_what_serves()
    stopped = clone.release(fault="error=0.5")
    clone.git("checkout", "--quiet", "config")
    assert stopped.verdict == "stopped by the canary", stopped.output
    lines = [
        re.sub(r"^\[ *\d+%\] rehearse +\d+% |  [\dm ins]+ left$", "", line) for line in stopped.output.splitlines()
    ]
    kept = [
        line for line in lines if re.match(r"starting|quality|load|watching|\d+ % of visitors|canary|release  ", line)
    ]
    return re.sub(r": http://127\.0\.0\.1:\d+", "", "\n".join(dict.fromkeys(kept)))


def with_log(readme: str, log: str) -> str:
    """README.md with the log between its two marks."""
    begin, end = "<!-- canary log: begin -->", "<!-- canary log: end -->"
    assert begin in readme
    assert end in readme
    before, after = readme.split(begin)[0], readme.split(end)[1]
    return f"{before}{begin}\n```\n{log}\n```\n{end}{after}"


if __name__ == "__main__":
    sys.exit(main())
