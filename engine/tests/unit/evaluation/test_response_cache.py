from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

from sluice.evaluation.response_cache import ResponseCache
from unit.evaluation.cache_writer import ENTRIES, fill, key, value

SPAWN = multiprocessing.get_context("spawn")


def file_of(cache: ResponseCache, name: str) -> Path:
    (found,) = cache.folder.rglob(f"{name}.json")
    return found


def test_an_entry_cut_short_anywhere_or_under_the_name_of_another_counts_as_not_there(tmp_path: Path) -> None:
    cache = ResponseCache(tmp_path)
    cache.put(key(1), value(1))
    cache.put(key(2), value(2))
    path = file_of(cache, key(1))
    whole = path.read_bytes()
    for damaged in (*(whole[:length] for length in range(len(whole))), b"[]", file_of(cache, key(2)).read_bytes()):
        path.write_bytes(damaged)
        assert cache.get(key(1)) is None, damaged
    path.write_bytes(whole)
    assert ResponseCache(tmp_path).get(key(1)) == value(1)


def received(pipe: Connection) -> set[int]:
    numbers = set()
    try:
        while pipe.poll(60):
            numbers.add(pipe.recv())
    except EOFError:
        return numbers
    raise AssertionError("a process that fills the cache hangs")


def test_two_processes_of_which_one_is_killed_corrupt_and_lose_nothing(tmp_path: Path) -> None:
    pipes, processes = [], []
    for by in range(2):
        here, there = SPAWN.Pipe(duplex=False)
        process = SPAWN.Process(target=fill, args=(str(tmp_path), by, there), kwargs={"endless": by == 0})
        process.start()
        there.close()
        pipes.append(here)
        processes.append(process)
    reported = {pipes[0].recv() for _ in range(50)}
    os.kill(processes[0].pid or 0, signal.SIGKILL)
    for pipe in pipes:
        reported |= received(pipe)
    for process in processes:
        process.join(240)
    assert [process.exitcode for process in processes] == [-signal.SIGKILL, 0]
    cache = ResponseCache(tmp_path)
    assert reported == set(range(ENTRIES))
    for number in range(ENTRIES):
        found = cache.get(key(number))
        assert found is not None
        assert found == value(number, by=found["by"])
