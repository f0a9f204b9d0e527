"""How long a release takes on a fresh machine, and how long the verdict on an edited prompt.

    python3 engine/benchmarks/release.py [URL or folder to clone, default this repository]

Clones into a temporary folder with empty caches of models and packages, then runs `make release` cold, after editing
one prompt and with nothing changed, `make eval` after another edit and once more, and `make test`. An edit that makes
answers worse ends with status 3. A processor without AVX-512 may take 1.5 times the limits.
Peak memory is the largest sum of resident sets of all processes, sampled twice a second; pages that processes
share are counted for each of them, so the true figure is lower. Linux only. Prints a table in Markdown.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

# run: target of make, limit in seconds, edit of prompts/answer.prompt.yml
RUNS: dict[str, tuple[str, int, tuple[str, str] | None]] = {
    "release, cold, with installation": ("release", 300, None),
    "release, one prompt edited": ("release", 150, ("You are the assistant", "You are an assistant")),
    "release, nothing changed": ("release", 5, None),
    "comparison, one prompt edited": ("eval", 90, ("Answer the question", "Reply to the question")),
    "comparison, nothing changed since": ("eval", 5, None),
    "tests": ("test", 120, None),
}


def main(source: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", source, str(clone)], check=True)
        caches = {"SLUICE_CACHE": f"{folder}/models", "UV_CACHE_DIR": f"{folder}/uv", "PIP_NO_CACHE_DIR": "1"}
        print("| run | seconds | limit | peak memory, GiB | exit code |\n|---|---|---|---|---|", flush=True)
        for name, (target, limit, edit) in RUNS.items():
            if edit:
                prompt = clone / "prompts" / "answer.prompt.yml"
                before = prompt.read_text()
                if edit[0] not in before:
                    sys.exit(f"{prompt.name} does not say {edit[0]!r}: without an edit nothing is measured")
                prompt.write_text(before.replace(*edit))
            seconds, peak, code = timed(["make", target, "BASE=HEAD"], clone, caches)
            print(f"| {name} | {seconds:.0f} | {limit} | {peak / 2**30:.1f} | {code} |", flush=True)
    return 0


def timed(argv: list[str], clone: Path, caches: dict[str, str]) -> tuple[float, int, int]:
    """Seconds, peak bytes and exit status of a command."""
    began = time.monotonic()
    process = subprocess.Popen(argv, cwd=clone, env={**os.environ, **caches}, start_new_session=True)
    peak, ended = [0], threading.Event()

    def sample() -> None:
        while not ended.wait(0.5):
            peak[0] = max(peak[0], resident(process.pid))

    sampler = threading.Thread(target=sample)
    sampler.start()
    code = process.wait()
    ended.set()
    sampler.join()
    return time.monotonic() - began, peak[0], code


def resident(root: int) -> int:
    """Bytes resident in `root` and all its descendants."""
    parents, sizes = {}, {}
    page = os.sysconf("SC_PAGE_SIZE")
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(fields[1])
                sizes[int(entry.name)] = int(fields[21]) * page
            except (OSError, IndexError):
                continue
    total = 0
    for pid, size in sizes.items():
        at = pid
        while at > 1 and at != root:
            at = parents.get(at, 0)
        total += size if at == root else 0
    return total


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else str(Path(__file__).parents[2])))
