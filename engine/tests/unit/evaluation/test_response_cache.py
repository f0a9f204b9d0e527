from __future__ import annotations

import json
import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from sluice.evaluation.response_cache import ResponseCache
from unit.evaluation.cache_writer import ENTRIES, fill, key, value

SPAWN = multiprocessing.get_context("spawn")


def file_of(cache: ResponseCache, name: str) -> Path:
    (found,) = cache.folder.rglob(f"{name}.json")
    return found


def test_what_was_put_is_there_for_another_cache_over_the_same_folder(tmp_path: Path) -> None:
    ResponseCache(tmp_path).put(key(3), value(3))
    assert ResponseCache(tmp_path).get(key(3)) == value(3)
    assert ResponseCache(tmp_path).get(key(4)) is None


def test_an_entry_cut_short_anywhere_counts_as_not_there(tmp_path: Path) -> None:
    cache = ResponseCache(tmp_path)
    cache.put(key(1), value(1))
    path = file_of(cache, key(1))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert cache.get(key(1)) is None, length
    path.write_bytes(whole)
    assert cache.get(key(1)) == value(1)


def test_an_entry_under_the_name_of_another_counts_as_not_there(tmp_path: Path) -> None:
    cache = ResponseCache(tmp_path)
    cache.put(key(1), value(1))
    cache.put(key(2), value(2))
    file_of(cache, key(2)).write_bytes(file_of(cache, key(1)).read_bytes())
    assert cache.get(key(2)) is None


@pytest.mark.parametrize("content", [b"", b"[]", b'{"key": 1}'])
def test_a_file_that_is_no_entry_counts_as_not_there(tmp_path: Path, content: bytes) -> None:
    cache = ResponseCache(tmp_path)
    cache.put(key(1), value(1))
    file_of(cache, key(1)).write_bytes(content)
    assert cache.get(key(1)) is None


def test_two_folders_are_merged_by_copying(tmp_path: Path) -> None:
    here, there = ResponseCache(tmp_path / "here"), ResponseCache(tmp_path / "there")
    here.put(key(1), value(1))
    there.put(key(2), value(2))
    source = file_of(there, key(2))
    target = here.folder / source.relative_to(there.folder)
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(source.read_bytes())
    assert (here.get(key(1)), here.get(key(2))) == (value(1), value(2))


def received(pipe: Connection) -> set[int]:
    numbers = set()
    try:
        while pipe.poll(60):
            numbers.add(pipe.recv())
    except EOFError:
        return numbers
    raise AssertionError("a process that fills the cache hangs")


def test_four_processes_of_which_two_are_killed_corrupt_and_lose_nothing(tmp_path: Path) -> None:
    pipes, processes = [], []
    for by in range(4):
        here, there = SPAWN.Pipe(duplex=False)
        process = SPAWN.Process(target=fill, args=(str(tmp_path), by, there), kwargs={"endless": by < 2})
        process.start()
        there.close()
        pipes.append(here)
        processes.append(process)
    reported: set[int] = set()
    for by, process in enumerate(processes[:2]):
        for _ in range(20 + 60 * by):  # in the middle, each at another place
            reported.add(pipes[by].recv())
        os.kill(process.pid or 0, signal.SIGKILL)
    for pipe in pipes:
        reported |= received(pipe)
    for process in processes:
        process.join(240)
    assert [process.exitcode for process in processes] == [-signal.SIGKILL] * 2 + [0] * 2
    cache = ResponseCache(tmp_path)
    assert reported == set(range(ENTRIES))
    for number in range(ENTRIES):
        found = cache.get(key(number))
        assert found is not None
        assert found == value(number, by=found["by"])
    for path in tmp_path.rglob("*.json"):
        if not path.name.startswith("."):
            json.loads(path.read_bytes())
