"""The datasheet of a dataset as Markdown, generated from the data: contents, sources, checks.

Runs as `sluice data card`. The headings follow Datasheets for Datasets (Gebru and others 2021) as far as data can
speak for itself; why it was made, and what for, a person writes beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from sluice.core.html_theme import page_environment
from sluice.data.contract import check
from sluice.data.data_policy import KINDS, DataPolicy
from sluice.data.row_sources import FILE, scan_sources
from sluice.data.rows import Row, scan_corpus, scan_rows

_ACTIONS = {"refuse": "refused", "redact": "refused here, replaced by importers", "allow": "not looked for"}


def card(folder: Path, policy: DataPolicy) -> str:
    """The page. Faults of the data are counted in it and do not stop it."""
    report = check(folder, policy)
    documents = [one.value for one in scan_corpus(folder / "corpus")[0]]
    sides = {name: [one.value for one in scan_rows(folder / f"{name}.jsonl")[0]] for name in ("train", "eval")}
    tags = {name: Counter(tag for row in side for tag in row.tags) for name, side in sides.items()}
    origins = Counter((one.licence, one.source) for one in documents)
    sources, _ = scan_sources(folder / FILE)
    template = page_environment(Path(__file__).parent / "templates", escape=False).get_template("datasheet.md.j2")
    page: str = template.render(
        report=report,
        composition=[
            ("documents", len(documents), "", _spread([len(one.text.split()) for one in documents])),
            *(_questions(name, side) for name, side in sides.items()),
        ],
        tenants=Counter(one.tenant for one in documents if one.tenant),
        sides=list(sides),
        topics=[(tag, *(tags[name][tag] for name in sides)) for tag in sorted(set().union(*tags.values()))],
        sources=[
            *((licence, source, f"{number} documents") for (licence, source), number in sorted(origins.items())),
            *((one.licence, one.source, f"{one.rows} rows of {one.file}") for one in sources),
        ],
        actions=[
            ("secrets", "refused"),
            *((kind.replace("_", " "), _ACTIONS[policy.privacy.action(kind)]) for kind in KINDS),
        ],
    )
    return page + "\n"


def _questions(name: str, side: Sequence[Row]) -> tuple[str, int, int, str]:
    declined = sum(not row.answerable for row in side)
    return f"{name} questions", len(side), declined, _spread([len(row.question.split()) for row in side])


def _spread(lengths: Sequence[int]) -> str:
    return f"{min(lengths)}, {median(lengths):g}, {max(lengths)}" if lengths else "–"
