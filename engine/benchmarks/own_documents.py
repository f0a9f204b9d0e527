"""How well a project answers about documents that it has never seen, without rows and without training.

    .venv/bin/python engine/benchmarks/own_documents.py                # three public sets; minutes for each
    .venv/bin/python engine/benchmarks/own_documents.py library --keep /tmp/own

Each set is fetched by pip or apt-get in a pinned version (`apt-get update` first). A clone is named by `sluice init
--without-starter-data`, the documents are imported, examples of secrets are allowed as the import proposes, the guard
model learns the documents, and the project answers 40 questions that they answer and 10 that they don't. Somebody
wrote these from the documents alone; a right answer has one of the wordings of each fact in `answers`. `two nearest`
holds the two sentences nearest to the question against the same facts. A wrong number is an answer with a citation to
a question whose facts are numbers, with another number. Prints a table in Markdown and fails where a limit is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from figures import table, write_block

from sluice.core.workspace import Workspace
from sluice.extend import Output, Row, answer_key, sentences
from sluice.release import starter
from sluice.retrieval.embedder import Embedder
from sluice.serving.release_parts import draft_bundle

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = Path(__file__).parent / "own_documents"
SLUICE = Path(sys.executable).with_name("sluice")
ABOUT = {
    "library": "the documentation of Starlette",
    "handbook": "the help of HomeBank",
    "pdfs": "the guides of Debian's installer and of ReportLab",
}
LIMITS = {"right": 0.80, "above two nearest": 0.10, "declined": 0.75}


def _wheel(name: str, version: str, folder: Path, out: Path) -> None:
    words = ["download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(folder), f"{name}=={version}"]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    shutil.unpack_archive(next(folder.glob("*.tar.gz")), folder)
    shutil.copytree(folder / f"{name}-{version}" / "docs", out)


def _packages(names: list[str], files: dict[str, str], folder: Path, out: Path) -> None:
    subprocess.run(["apt-get", "download", "-qq", *names], cwd=folder, check=True, stderr=subprocess.DEVNULL)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], check=True)
    out.mkdir()
    for pattern, name in files.items():
        for path in folder.glob(f"usr/share/doc/{pattern}"):
            target = out / (name or path.name)
            if path.suffix == ".gz":
                target.write_bytes(subprocess.run(["gzip", "-dc", str(path)], check=True, capture_output=True).stdout)
            else:
                shutil.copyfile(path, target)


def library(folder: Path, out: Path) -> tuple[str, str]:
    """Starlette's documentation: Markdown with code."""
    _wheel("starlette", "1.10.0", folder, out)
    return "BSD-3-Clause", "https://starlette.dev"


def handbook(folder: Path, out: Path) -> tuple[str, str]:
    """HomeBank's help: HTML pages for users."""
    _packages(["homebank-data=5.8.6-1"], {"homebank-data/help/*.html": ""}, folder, out)
    return "GPL-2.0-or-later", "https://www.gethomebank.org/help"


def pdfs(folder: Path, out: Path) -> tuple[str, str]:
    """Debian's installation guide and ReportLab's user guide: PDF."""
    files = {
        "installation-guide-amd64/en/install.en.pdf.gz": "installation-guide.pdf",
        "python-reportlab-doc/reportlab-userguide.pdf.gz": "reportlab-userguide.pdf",
    }
    names = ["installation-guide-amd64=20250803+deb13u1", "python-reportlab-doc=4.3.1-1"]
    _packages(names, files, folder, out)
    return "GPL-2.0-or-later AND BSD-3-Clause", "https://docs.example.org"


SETS: dict[str, Callable[[Path, Path], tuple[str, str]]] = {"library": library, "handbook": handbook, "pdfs": pdfs}


def main(options: argparse.Namespace) -> int:
    rows, missed = [], 0
    for name in options.sets or SETS:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)  # apt's own user writes there
            row = measured(name, Path(options.keep or folder))
        missed += row["right"] < LIMITS["right"] or row["declined"] < LIMITS["declined"]
        missed += row["right"] - row["two nearest"] < LIMITS["above two nearest"]
        missed += bool(row["links redacted"] or row["wrong numbers"])
        rows.append((name, *map(str, row.values())))
        print(f"{name}: {row}", file=sys.stderr, flush=True)
    right, above, declined = (f"{LIMITS[name]:.2f}" for name in ("right", "above two nearest", "declined"))
    limits = ("at least", "", "", f"{right}, {above} above two nearest", "", declined, "none", "none", "")
    found = table(("set", *row), [*rows, limits])
    print(found)
    if options.write:
        write_block("own documents", found)
    return 1 if missed else 0


def measured(name: str, folder: Path) -> dict[str, Any]:
    fetched = folder / f"{name}-fetched"
    fetched.mkdir(parents=True)
    documents = folder / f"{name}-documents"
    licence, origin = SETS[name](fetched, documents)
    began = time.monotonic()
    clone = folder / name
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    names = ("--name", "docs-helper", "--organisation", "acme", "--about", ABOUT[name])
    _sluice(clone, "init", *names, "--without-starter-data", "--engine", "vendored")
    words = ("data", "import", str(documents), "data/corpus", "--licence", licence, "--origin", origin)
    output = _sluice(clone, *words, fails=True)
    if secrets := re.findall(r'^ {4}".*?: secret: .* "(.*)" in `', output.replace('\\"', '"'), re.MULTILINE):
        _edit(clone / "config" / "data.yaml", lambda data: data["privacy"].update(allow=sorted(set(secrets))))
        _sluice(clone, *words, "--replace")
    rows = [json.loads(line) for line in (QUESTIONS / f"{name}.jsonl").read_text().splitlines()]
    ids = _ids(clone, rows, origin)
    lines = [json.dumps(_row(row, ids)) + "\n" for row in rows]
    (clone / "data" / "eval.jsonl").write_text("".join(lines))
    (clone / "data" / "train.jsonl").touch()
    with contextlib.redirect_stdout(sys.stderr):
        starter.place(Workspace(clone))
    _sluice(clone, "guard", "train")
    _sluice(clone, "evaluate")
    return _figures(clone, rows) | {"seconds": round(time.monotonic() - began)}


def _ids(clone: Path, rows: list[dict[str, Any]], origin: str) -> dict[str, str]:
    """Ids of the imported documents by the file that a question names."""
    sources = {}
    for path in sorted((clone / "data" / "corpus").glob("*.md")):
        head = yaml.safe_load(path.read_text().split("---")[1])
        sources[head["source"].removeprefix(f"{origin}/").partition("#")[0]] = head["id"]
    asked = {row["document"] for row in rows if row["answers"]}
    assert asked <= set(sources), f"not imported: {sorted(asked - set(sources))}"
    return sources


def _row(row: dict[str, Any], ids: dict[str, str]) -> dict[str, Any]:
    facts = row["answers"]
    found = {"id": row["id"], "question": row["question"], "answers": [" ".join(one[0] for one in facts)] * bool(facts)}
    return found | ({"doc_ids": [ids[row["document"]]], "expect": {"answer_key": facts}} if facts else {"doc_ids": []})


def _figures(clone: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    folder = clone / "build" / "evaluation"
    cases = {case["id"]: case for case in map(json.loads, (folder / "cases.jsonl").read_text().splitlines())}
    return {
        "pages": len(list((clone / "data" / "corpus").glob("*.md"))),
        "chunks": json.loads((clone / "build" / "index" / "index.json").read_text())["chunks"],
        "right": round(sum(cases[row["id"]]["scores"]["answer_key"] for row in rows if row["answers"]) / 40, 3),
        "two nearest": round(_two_nearest(clone, [row for row in rows if row["answers"]]), 3),
        "declined": round(sum(cases[row["id"]]["declined"] for row in rows if not row["answers"]) / 10, 3),
        "links redacted": sum("[redacted: link]" in case["answer"] for case in cases.values()),
        "wrong numbers": sum(_wrong_number(row, cases[row["id"]]) for row in rows),
    }


def _two_nearest(clone: Path, rows: list[dict[str, Any]]) -> float:
    """Return the share that the two sentences nearest to the question, out of the five nearest chunks, answer right."""
    index = clone / "build" / "index"
    chunks = [json.loads(line)["text"] for line in (index / "chunks.jsonl").read_text().splitlines()]
    vectors = np.load(index / "vectors.npy").astype(np.float32)
    right = 0
    with Embedder(draft_bundle(Workspace(clone), adapter=None).embedder) as embedder:
        for row, asked in zip(rows, embedder.embed([row["question"] for row in rows]), strict=True):
            found = [one for place in np.argsort(-(vectors @ asked))[:5] for one in sentences(chunks[place])]
            near = np.argsort(-(embedder.embed(found) @ asked))[:2]
            case = Row(**_row(row, {row["document"]: "any"}))
            said = " ".join(found[place] for place in near)
            right += answer_key.score(case, Output(said)) == 1
    return right / len(rows)


def _wrong_number(row: dict[str, Any], case: dict[str, Any]) -> bool:
    number = row["answers"] and all(re.search(r"\d", one) for fact in row["answers"] for one in fact)
    right = case["scores"]["answer_key"] == 1
    return bool(number and not right and case["citations"] and re.search(r"\d", case["answer"]))


def _sluice(clone: Path, *words: str, fails: bool = False) -> str:
    done = subprocess.run([str(SLUICE), *words], cwd=clone, capture_output=True, text=True)
    if done.returncode and not fails:
        raise SystemExit(f"sluice {words[0]} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def _edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", choices=[[], *SETS], help="default: all")
    parser.add_argument("--keep", help="folder that keeps clones and documents")
    parser.add_argument("--write", action="store_true", help="write the figures into engine/docs/figures.md")
    sys.exit(main(parser.parse_args()))
