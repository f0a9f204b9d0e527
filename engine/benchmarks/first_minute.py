"""How long a stranger waits for `make try`: `python3 engine/benchmarks/first_minute.py [RUNS] [URL or folder]`.

Each run clones into a temporary folder with empty caches of models and packages and starts `make try`. Measured are the
seconds from `git clone` to the first cited answer, the megabytes fetched, and for two planted edits of the prompt the
seconds to a verdict and whether it is right: a prompt whose answers end after one token is worse than the starter's,
and the starter's is better than that. A processor without AVX-512 may take 1.5 times the limits. Linux only.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PORT = 8089
URL = f"http://127.0.0.1:{PORT}"
LIMITS = {"answer, seconds": 60, "megabytes fetched": 450, "bad prompt, seconds": 60, "good prompt, seconds": 60}
QUESTION = "How much overlap should chunks have?"
GOOD, BAD = "maxTokens: 160", "maxTokens: 1"


def main(runs: int, source: str) -> int:
    columns = [*LIMITS, "verdicts"]
    print(f"| run | {' | '.join(columns)} |\n|---{'|---' * len(columns)}|", flush=True)
    missed = 0
    for number in range(1, runs + 1):
        row = one_run(source)
        missed += (
            any(float(row[name]) > limit for name, limit in LIMITS.items()) or row["verdicts"] != "worse, improved"
        )
        print(f"| {number} | {' | '.join(str(row[name]) for name in columns)} |", flush=True)
    return 1 if missed else 0


def one_run(source: str) -> dict[str, float | str]:
    with tempfile.TemporaryDirectory() as folder:
        env = {
            **os.environ,
            "SLUICE_CACHE": f"{folder}/models",
            "UV_CACHE_DIR": f"{folder}/uv",
            "PIP_NO_CACHE_DIR": "1",
        }
        received, began = _received(), time.monotonic()
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", source, str(clone)], check=True)
        log = Path(folder) / "log"
        with log.open("w") as output:
            command = ["make", "try", f"PORT={PORT}"]
            process = subprocess.Popen(command, cwd=clone, env=env, stdout=output, stderr=output, process_group=0)
        try:
            answer = _first_answer(process, log)
            row: dict[str, float | str] = {
                "answer, seconds": round(time.monotonic() - began, 1),
                "megabytes fetched": round((_received() - received) / 1e6),
            }
            assert answer["citations"], answer
            prompt = json.loads(_ask("/try/prompt"))
            bad = prompt["text"].replace(GOOD, BAD)
            assert bad != prompt["text"], "prompts/answer.prompt.yml no longer says what this replaces"
            row["bad prompt, seconds"], worse = _verdict(bad)
            _ask("/try/keep", {"text": bad, "digest": prompt["digest"]})
            row["good prompt, seconds"], better = _verdict(prompt["text"])
            row["verdicts"] = f"{worse}, {better}"
            return row
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)


def _first_answer(process: subprocess.Popen[bytes], log: Path) -> dict[str, object]:
    body: dict[str, object] = {"model": "sluice", "messages": [{"role": "user", "content": QUESTION}]}
    while process.poll() is None:
        try:
            return dict(json.loads(_ask("/v1/chat/completions", body)))
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"make try ended with {process.returncode}:\n{log.read_text()}")


def _verdict(text: str) -> tuple[float, str]:
    began = time.monotonic()
    events = [json.loads(part[6:]) for part in _ask("/try/compare", {"text": text}).split("\n\n") if part.strip()]
    return round(time.monotonic() - began, 1), str(events[-1].get("verdict") or events[-1])


def _ask(path: str, body: dict[str, object] | None = None) -> str:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as response:
        return str(response.read().decode())


def _received() -> int:
    """Bytes that this machine has received from others."""
    lines = [line.split() for line in Path("/proc/net/dev").read_text().splitlines()[2:]]
    return sum(int(words[1]) for words in lines if words[0] != "lo:")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10, sys.argv[2] if len(sys.argv) > 2 else str(ROOT)))
