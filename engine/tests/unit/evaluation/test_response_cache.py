import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from sluice.evaluation.response_cache import ResponseCache

# Stores all entries in an order of its own; the first one never ends, so that whoever kills it never comes too late.
WRITER = """
import itertools, sys
from pathlib import Path
from sluice.evaluation.response_cache import ResponseCache
value = lambda number: {"text": "ä" * 10 * number}
cache, by = ResponseCache(Path(sys.argv[1])), int(sys.argv[2])
for step in range(200) if by else itertools.count():
    number = (step * 7 + by * 61) % 200
    assert cache.get(f"{number:03}") in (None, value(number)), number
    cache.put(f"{number:03}", value(number))
    print(number, flush=True)
"""


def value(number: int) -> dict[str, Any]:
    return {"text": "ä" * 10 * number}


def test_an_entry_cut_short_anywhere_or_under_the_name_of_another_counts_as_not_there(tmp_path: Path) -> None:
    cache = ResponseCache(tmp_path)
    for number in (1, 2):
        cache.put(f"{number:03}", value(number))
    path, other = sorted(tmp_path.rglob("*.json"))
    whole = path.read_bytes()
    for damaged in (*(whole[:length] for length in range(len(whole))), b"[]", other.read_bytes()):
        path.write_bytes(damaged)
        assert cache.get("001") is None, damaged
    path.write_bytes(whole)
    assert ResponseCache(tmp_path).get("001") == value(1)


def test_two_processes_of_which_one_is_killed_corrupt_and_lose_nothing(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [subprocess.Popen([*argv, by], stdout=subprocess.PIPE, text=True) for by in "01"]
    assert writers[0].stdout is not None
    stored = {int(writers[0].stdout.readline()) for _ in range(50)}
    writers[0].kill()
    stored |= {int(number) for writer in writers for number in writer.communicate(timeout=240)[0].split()}
    assert [writer.returncode for writer in writers] == [-signal.SIGKILL, 0]
    assert stored == set(range(200))
    cache = ResponseCache(tmp_path)
    assert all(cache.get(f"{number:03}") == value(number) for number in stored)
