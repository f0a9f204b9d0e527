"""Redacts personal data in a data folder, as the policy says. Runs as `sluice data redact`.

A file is written only when it changed. `sluice data check` reports unreadable files.
"""

from __future__ import annotations

from pathlib import Path

from sluice.core.atomic_files import write_atomic
from sluice.data.data_policy import PrivacyPolicy
from sluice.data.privacy import redact
from sluice.data.rows import Row, parse_row, write_rows
from sluice.data.scanning import read_text


def redact_folder(folder: Path, policy: PrivacyPolicy) -> dict[str, int]:
    """Redacts a data set.

    Args:
        folder: of the data set.
        policy: what is redacted.

    Returns:
        How many documents and rows were changed.
    """
    documents = sum(_redact_file(path, policy) for path in sorted((folder / "corpus").rglob("*.md")))
    rows = sum(_redact_rows(folder / name, policy) for name in ("train.jsonl", "eval.jsonl"))
    return {"documents": documents, "rows": rows}


def _redact_file(path: Path, policy: PrivacyPolicy) -> bool:
    text, faults = read_text(path)
    clean = redact(text, policy)
    if faults or clean == text:
        return False
    write_atomic(path, clean)
    return True


def _redact_rows(path: Path, policy: PrivacyPolicy) -> int:
    text, faults = read_text(path)
    rows = [parse_row(line)[0] for line in text.split("\n") if line.strip()]
    if faults or None in rows:
        return 0
    read = [row for row in rows if row]
    clean = [redact_row(row, policy) for row in read]
    changed = sum(old != new for old, new in zip(read, clean, strict=True))
    if changed:
        write_rows(path, clean)
    return changed


def redact_row(row: Row, policy: PrivacyPolicy) -> Row:
    """Question and answers without what the policy redacts; both as in a document under the same policy.

    Args:
        row: as it was written.
        policy: what is redacted.
    """
    return row.model_copy(
        update={
            "question": redact(row.question, policy),
            "answers": tuple(dict.fromkeys(redact(answer, policy) for answer in row.answers)),
        }
    )
