"""The sources of documents: a folder or file, an archive (an export of Confluence or Notion), a git repository, or
the pages of a sitemap."""

from __future__ import annotations

import subprocess
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from sluice.core.errors import SluiceError

_SECONDS = 30  # for one page of a sitemap
_MOST_BYTES = 2 << 30  # of an archive, unpacked


@contextmanager
def opened(source: str, folder: str = "") -> Iterator[tuple[Path, Mapping[Path, str]]]:
    """Give the files of a source, those below `folder` of it, and the addresses of those that have one of their own."""
    with tempfile.TemporaryDirectory(prefix="sluice-import-") as place:
        path, addresses = _fetched(source, Path(place))
        below = path / folder
        if not below.exists() or not below.resolve().is_relative_to(path.resolve()):
            raise SluiceError(f"{source}: no {folder or 'such file or folder'}" + (" in it" if folder else ""))
        yield below, addresses


def _fetched(source: str, place: Path) -> tuple[Path, Mapping[Path, str]]:
    if source.endswith(".git") or source.startswith(("https://", "ssh://", "git@")):
        _git(source, place)
    elif source.endswith(".zip"):
        _unpack(Path(source), place)
    elif Path(source).suffix == ".xml":
        return place, _pages(Path(source), place)
    else:
        return Path(source), {}
    return place, {}


def _git(source: str, place: Path) -> None:
    words = ["git", "clone", "--quiet", "--depth=1", "--", source, str(place)]
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise SluiceError(f"{source}: git could not clone it: {done.stderr.strip()}")


def _unpack(source: Path, place: Path) -> None:
    try:
        with zipfile.ZipFile(source) as archive:
            if sum(one.file_size for one in archive.infolist()) > _MOST_BYTES:
                raise SluiceError(f"{source}: over {_MOST_BYTES >> 30} GiB unpacked", remedy="split it")
            archive.extractall(place)
    except (OSError, zipfile.BadZipFile) as error:
        raise SluiceError(f"{source}: not an archive that can be read: {error}") from None


def _pages(source: Path, place: Path) -> dict[Path, str]:
    """Fetch the pages of a sitemap, each to a file named by its path."""
    from bs4 import BeautifulSoup

    found: dict[Path, str] = {}
    listed = [one.get_text().strip() for one in BeautifulSoup(source.read_bytes(), "xml").find_all("loc")]
    with httpx.Client(timeout=_SECONDS, follow_redirects=True) as client:
        for address in listed:
            name = urlsplit(address).path.strip("/").removesuffix(".html") or "index"
            path = place / f"{name}.html"
            try:
                page = client.get(address).raise_for_status()
            except httpx.HTTPError as error:
                raise SluiceError(f"{source}: {address}: {error}", remedy="take it out of the sitemap") from None
            if "html" in page.headers.get("content-type", ""):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(page.content)
                found[path] = address
    return found
