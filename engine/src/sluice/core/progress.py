"""Progress of a long job: stage, percent, time left.

A stage reports to the terminal or, under `sluice release make`, to the file in SLUICE_PROGRESS; the release job shows
one line for all stages."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from sluice.core.atomic_files import read_json, write_json

VARIABLE = "SLUICE_PROGRESS"
_QUIET_SECONDS = 10.0  # without a terminal, one line this often


class StageReporter:
    def __init__(self, stage: str) -> None:
        self.stage = stage
        self._last = 0.0
        self._began = time.monotonic()

    def report(self, done: float, total: float, note: str = "") -> None:
        """Report how far the stage is, at most five times a second."""
        now = time.monotonic()
        target = os.environ.get(VARIABLE)
        if now - self._last < (0.2 if target else 2.0) and done < total:
            return
        self._last = now
        if target:
            write_json(Path(target), {"stage": self.stage, "share": done / total if total else 1.0, "note": note})
        else:
            left = (now - self._began) / done * (total - done) if done else 0.0
            print(f"{self.stage}: {done:.0f}/{total:.0f} {note} ({seconds(left)} left)", file=sys.stderr, flush=True)


def seconds(value: float) -> str:
    """12 s, 3 min 05 s."""
    whole = round(value)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"


class PipelineProgress:
    """The progress line of a run's stages. `expected`: seconds by stage, in order; `memory` keeps what each stage
    took."""

    def __init__(self, expected: Mapping[str, float], memory: Path, stream: TextIO = sys.stderr) -> None:
        self._memory = memory
        known = read_json(memory) if memory.exists() else {}
        self._expected = {stage: float(known.get(stage, default)) for stage, default in expected.items()}
        self._stream = stream
        self._live = stream.isatty()
        self._finished: set[str] = set()
        self._began = self._shown = 0.0
        self.stage = ""
        self.taken: list[dict[str, object]] = []

    def begin(self, stage: str) -> None:
        self.stage, self._began = stage, time.monotonic()
        self.show(0.0, "", force=True)

    def end(self, *, cached: bool = False, note: str = "") -> None:
        """Close the current stage. A cached stage doesn't change the forecast for the next run."""
        took = time.monotonic() - self._began
        self.taken.append({"stage": self.stage, "seconds": round(took, 1), "cached": cached, "note": note})
        self._finished.add(self.stage)
        if not cached:
            known = read_json(self._memory) if self._memory.exists() else {}
            write_json(self._memory, known | {self.stage: round(took, 1)})
        words = "unchanged, taken from the cache" if cached else seconds(took)
        self._line(f"  {self.stage:<10} {words}{'  ' + note if note else ''}", final=True)

    def show(self, share: float, note: str, *, force: bool = False) -> None:
        """Show the moving line: `[ 42%] train 60% 2 min 10 s left`."""
        now = time.monotonic()
        if not force and now - self._shown < (0.2 if self._live else _QUIET_SECONDS):
            return
        self._shown = now
        elapsed = now - self._began
        expected = self._expected.get(self.stage, 1.0)
        # The forecast counts for as much as is left; the pace so far, elapsed / share, for as much as is done.
        here = (1 - share) * ((1 - share) * expected + elapsed) if share else max(expected - elapsed, 0.0)
        done = sum(self._expected[s] for s in self._finished if s in self._expected)
        ahead = [s for s in self._expected if s not in self._finished and s != self.stage]
        left = here + sum(self._expected[s] for s in ahead)
        percent = 100 * (done + elapsed) / max(done + elapsed + left, 0.1)
        self._line(f"[{percent:3.0f}%] {self.stage} {share:4.0%} {note}  {seconds(left)} left", final=False)

    def follow(self, target: Path, reporter: str = "") -> None:
        try:
            entry = json.loads(target.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            self.show(0.0, "")
            return
        share = entry["share"] if entry["stage"] == (reporter or self.stage) else 0.0
        self.show(float(share), entry["note"] if share else "")

    def _line(self, text: str, *, final: bool) -> None:
        if self._live:
            self._stream.write(f"\r\033[K{text}" + ("\n" if final else ""))
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()
