"""Temporary files of tests in memory, where it has room for them.

Some hundred thousand small files come and go, and ext4 without a journal looks at every inode that was freed in the
last minutes before it gives one out (Linux 6.18, fs/ext4/ialloc.c, `recently_deleted`): that was most of the system
time of the tests.
"""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

MEMORY = Path("/dev/shm")
ROOM = 4 << 30  # for all that a run leaves until its end; and as much again for the programs that it starts


def keep_in_memory(config: pytest.Config) -> None:
    """Keep temporary files of a run in memory until it ends, unless somebody has named a folder for them."""
    if config.option.basetemp is None and "TMPDIR" not in os.environ and has_room():
        folder = make_folder()
        config.add_cleanup(partial(shutil.rmtree, folder, ignore_errors=True))
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        config.option.basetemp = Path(folder, "t")


def has_room() -> bool:
    if not MEMORY.is_dir() or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        return False
    return min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available // 2) >= ROOM


def make_folder() -> str:
    """Make a folder that is locked as long as this process lives; remove those of killed processes."""
    for path in MEMORY.glob(f"sluice-{os.getuid()}-*"):
        with suppress(OSError), Path(path, "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
    made = tempfile.mkdtemp(prefix=f"sluice-{os.getuid()}-", dir=MEMORY)
    fcntl.flock(os.open(f"{made}/lock", os.O_CREAT | os.O_RDONLY), fcntl.LOCK_EX)
    return made if Path(made).is_dir() else make_folder()  # another one has just taken it for left behind
