"""Scores recorded answers with the current metrics, so that results of another version stay comparable."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from sluice.data.rows import Row
from sluice.evaluation.output import Output
from sluice.evaluation.runner import Score


def rescore(records: Sequence[Mapping[str, Any]], rows: Sequence[Row], score: Score) -> list[dict[str, Any]]:
    """The records with what `score` says of their answers (scoring.run_metrics, or what stands for it). `rows`: those
    that were asked. Cases without an answer keep what they are."""
    known = {row.id: row for row in rows}

    async def one(record: Mapping[str, Any]) -> dict[str, Any]:
        if record.get("status", "answered") != "answered" or record["answer"] is None:
            return dict(record)
        return {**record, **await score(known[record["id"]], output_of(record))}

    async def all_of_them() -> list[dict[str, Any]]:
        return list(await asyncio.gather(*(one(record) for record in records)))

    return asyncio.run(all_of_them())


def output_of(record: Mapping[str, Any]) -> Output:
    """What the metrics saw when the record was made. What an older version did not note is empty."""
    return Output(
        text=record["answer"],
        declined=record["declined"],
        retrieved=tuple(record["retrieved"]),
        citations=tuple(record["citations"]),
        latency_ms=record["latency_ms"],
        ttft_ms=record["ttft_ms"],
        prompt_tokens=record["prompt_tokens"],
        completion_tokens=record["completion_tokens"],
        passages=tuple(record.get("passages", ())),
        cost=record.get("cost"),
        recorded=record.get("recorded", False),
    )
