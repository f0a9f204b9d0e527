"""Scores recorded answers with the current metrics, so that results of another version stay comparable."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from sluice.data.rows import Row
from sluice.evaluation.output import Output
from sluice.evaluation.runner import Score


def rescore(records: Sequence[Mapping[str, Any]], rows: Sequence[Row], score: Score) -> list[dict[str, Any]]:
    """Scores the answers of records anew.

    Args:
        records: of runner.run_cases; those without an answer stay what they are.
        rows: those that were asked.
        score: scoring.run_metrics, or what stands for it.

    Returns:
        The records with the new results.
    """
    known = {row.id: row for row in rows}

    async def one(record: Mapping[str, Any]) -> dict[str, Any]:
        if record.get("status", "answered") != "answered" or record["answer"] is None:
            return dict(record)
        return {**record, **await score(known[record["id"]], Output.from_record(record))}

    async def all_of_them() -> list[dict[str, Any]]:
        return list(await asyncio.gather(*(one(record) for record in records)))

    return asyncio.run(all_of_them())
