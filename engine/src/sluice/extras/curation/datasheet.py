"""The datasheet of a dataset as Markdown, generated from the data: contents, sources, checks.

Runs as `sluice data card`. The headings follow Datasheets for Datasets (Gebru and others 2021) as far as data can
speak for itself; why it was made, and what for, a person writes beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from sluice.data.contract import ContractReport, check
from sluice.data.data_policy import KINDS, DataPolicy
from sluice.data.row_sources import FILE, scan_sources
from sluice.data.rows import Document, Row, scan_corpus, scan_rows

_ACTIONS = {"refuse": "refused", "redact": "refused here, replaced by importers", "allow": "not looked for"}


def card(folder: Path, policy: DataPolicy) -> str:
    """The page. Faults of the data are counted in it and do not stop it."""
    report = check(folder, policy)
    documents = [one.value for one in scan_corpus(folder / "corpus")[0]]
    sides = {name: [one.value for one in scan_rows(folder / f"{name}.jsonl")[0]] for name in ("train", "eval")}
    parts = [
        "# Datasheet",
        f"Made of the data with digest `{report.digest}` by `sluice data card`.",
        "## Composition",
        _composition(documents, sides),
        "## Topics",
        _topics(sides),
        "## Collection",
        _collection(folder, documents),
        "## Checks",
        _checks(report, policy),
    ]
    return "\n\n".join(parts) + "\n"


def _composition(documents: Sequence[Document], sides: dict[str, list[Row]]) -> str:
    rows = [
        ("documents", len(documents), "", _spread([len(one.text.split()) for one in documents])),
        *(
            (
                f"{name} questions",
                len(side),
                sum(not row.answerable for row in side),
                _spread([len(row.question.split()) for row in side]),
            )
            for name, side in sides.items()
        ),
    ]
    tenants = Counter(one.tenant for one in documents if one.tenant)
    told = f"\n\nFor one tenant only: {sum(tenants.values())} documents of {len(tenants)} tenants." if tenants else ""
    return _table(("", "number", "to decline", "words (least, median, most)"), rows) + told


def _spread(lengths: Sequence[int]) -> str:
    return f"{min(lengths)}, {median(lengths):g}, {max(lengths)}" if lengths else "–"


def _topics(sides: dict[str, list[Row]]) -> str:
    counts = {name: Counter(tag for row in side for tag in row.tags) for name, side in sides.items()}
    tags = sorted({tag for count in counts.values() for tag in count})
    if not tags:
        return "No row has a tag."
    return _table(("tag", *sides), [(tag, *(counts[name][tag] for name in sides)) for tag in tags])


def _collection(folder: Path, documents: Sequence[Document]) -> str:
    origins = Counter((one.licence, one.source) for one in documents)
    rows = [(licence, source, f"{number} documents") for (licence, source), number in sorted(origins.items())]
    sources, _ = scan_sources(folder / FILE)
    rows += [(one.licence, one.source, f"{one.rows} rows of {one.file}") for one in sources]
    return _table(("licence", "source", "what"), rows)


def _checks(report: ContractReport, policy: DataPolicy) -> str:
    kinds = [(kind.replace("_", " "), _ACTIONS[policy.privacy.action(kind)]) for kind in KINDS]
    verdict = f"Faults that the contract finds: {len(report.faults)}."
    never = "Names, and other personal data without a form of its own, are not looked for."
    return f"{verdict}\n\n{_table(('personal data', 'policy'), [('secrets', 'refused'), *kinds])}\n\n{never}"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
