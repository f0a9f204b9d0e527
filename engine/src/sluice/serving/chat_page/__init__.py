"""The chat page at `/`. Its policy allows its own style and script, by their hashes, and requests to this service."""

from __future__ import annotations

import base64
import hashlib
import re
from html import escape
from importlib import resources

from sluice.serving.settings import PageSettings

_POLICY = (
    "default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-src {frames}; frame-ancestors 'none'; require-trusted-types-for 'script'"
)


def load_page(page: PageSettings, most: int | None = None) -> tuple[bytes, dict[str, str]]:
    words = {name: escape(value) for name, value in page.model_dump(exclude={"examples"}).items()}
    words["examples"] = "".join(f'<li><button type="button">{escape(one)}</button></li>' for one in page.examples)
    words["most"] = str(most or "")
    html = resources.files(__name__).joinpath("index.html").read_text(encoding="utf-8")
    html = re.sub(r"\{\{(\w+)\}\}", lambda found: words[found[1]], html)
    return html.encode(), page_headers(html)


def page_headers(html: str, *, frames: str = "'none'") -> dict[str, str]:
    hashes = {}
    for tag in ("script", "style"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        hashes[tag] = f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
    return {
        "content-security-policy": _POLICY.format(**hashes, frames=frames),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }
