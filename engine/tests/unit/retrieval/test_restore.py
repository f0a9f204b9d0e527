"""Lost data come back as they were at a moment, with PostgreSQL's own means: a backup, an archive and a target, as in a
cluster with CloudNativePG and its plugin (engine/docs/reference/backups.md)."""

import asyncio
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sluice.core.processes import wait_until
from sluice.extras.tools.approvals import Approvals
from sluice.retrieval.index_files import IndexInfo
from sluice.retrieval.postgres_collections import collections_of_releases, drop, load_release
from sluice.retrieval.retriever import open_retriever
from sluice.retrieval.stores import Stores, open_store

from .conftest import NEW, OLD, Scattered, corpus

SAID = [{"role": "user", "content": "Open a ticket."}]


def embedded(path: str) -> Stores:
    return Stores.model_validate({"default": "it", "stores": {"it": {"kind": "embedded", "path": path}}})


@contextmanager
def opened(stores: Stores, state: Path) -> Iterator[tuple[str, psycopg.Connection[Any]]]:
    with open_store(stores.chosen, state) as address, psycopg.connect(address, autocommit=True) as connection:
        yield address, connection


def value(connection: psycopg.Connection[Any], query: str) -> Any:
    (row,) = connection.execute(query).fetchall()
    return row[0]


def hits(stores: Stores, state: Path, index: Path) -> list[Any]:
    with open_retriever(index, Scattered(), stores, state, load=False) as retriever:  # type: ignore[arg-type]
        return retriever.search("Which one is it?", k=3)


def restore(bucket: Path, folder: Path, until: str) -> None:
    """`until`: a moment, or "" for all that was archived."""
    folder.mkdir(mode=0o700)
    with tarfile.open(bucket / "base" / "base.tar") as backup:
        kept = [one for one in backup if "/." not in f"/{one.name.removeprefix('./')}"]  # not the locks of a server
        backup.extractall(folder, kept, numeric_owner=True, filter="fully_trusted")
    settings = f"archive_mode = off\nrestore_command = 'cp {bucket}/wal/%f %p'\n"
    settings += f"recovery_target_time = '{until}'\nrecovery_target_action = promote\n" if until else ""
    with (folder / "postgresql.auto.conf").open("a") as file:
        file.write(settings)
    (folder / "recovery.signal").touch()


@pytest.mark.real
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_lost_data_come_back(state: Path, build: Callable[..., IndexInfo], tmp_path: Path) -> None:
    bucket, lost = state / "bucket", embedded("lost")
    for folder in (bucket, bucket / "wal"):
        folder.mkdir()
        folder.chmod(0o777)  # where this runs as root, the server is another user
    for number, release in enumerate((OLD, NEW)):
        build(corpus(5)[number:], out=tmp_path / release)
    with opened(lost, state) as (_, connection):
        connection.execute("ALTER SYSTEM SET archive_mode = on")  # from the next start
        connection.execute(f"ALTER SYSTEM SET archive_command = 'cp %p {bucket}/wal/%f'")
    with opened(lost, state) as (address, connection):
        load_release(connection, tmp_path / OLD, OLD)
        program = value(connection, "SELECT setting FROM pg_config WHERE name = 'BINDIR'") + "/pg_basebackup"
        argv = [program, "--dbname", address, "--target", f"server:{bucket}/base", "--wal-method", "none"]
        subprocess.run([*argv, "--checkpoint", "fast", "--no-manifest"], check=True, timeout=300)
        collection = load_release(connection, tmp_path / NEW, NEW).collection
        asking = Approvals(address, 3600).ask("thread", [("open", {})], release=NEW, tenant="acme", conversation=SAID)
        asked, live = asyncio.run(asking), hits(lost, state, tmp_path / NEW)
        assert len(live) == 3
        moment = value(connection, "SELECT clock_timestamp()::text")
        # The accident, as soon as the server has ended the session of the search.
        assert wait_until(lambda: drop(connection, collection), seconds=60)
        connection.execute("DELETE FROM sluice_releases WHERE id = %s", (NEW,))
        connection.execute("TRUNCATE sluice_approvals CASCADE")
        last = value(connection, "SELECT pg_walfile_name(pg_switch_wal())")
        assert wait_until((bucket / "wal" / last).exists, seconds=120)
    shutil.rmtree(state / "lost")

    for path, until, releases in (("before", moment, {OLD, NEW}), ("after", "", {OLD})):
        restore(bucket, state / path, until)
        with opened(embedded(path), state) as (address, connection):
            assert wait_until(lambda: not value(connection, "SELECT pg_is_in_recovery()"), seconds=120)
            assert collections_of_releases(connection).keys() == releases, path
            if until:
                approvals = Approvals(address, 3600)
                assert hits(embedded(path), state, tmp_path / NEW) == live
                assert asyncio.run(approvals.find(asked, "acme")).conversation == SAID
                decided = approvals.decide(asked, "acme", approve=True, by="key", reason="", release=NEW)
                assert asyncio.run(decided).state == "approved", "it can be written to"
