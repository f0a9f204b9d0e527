"""Publishing data: what data.dvc names after a push a fresh clone can pull, whatever happened before or to it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.processes import program
from sluice.core.workspace import Workspace
from sluice.data.contract import data_digest
from sluice.data.data_policy import DataPolicy
from sluice.data.dvc_remote import version_here
from sluice.data.publish import Publication, push, verify
from unit.data.conftest import commit, git, make_checkout, pull_into_clone

POLICY = DataPolicy()


def stored(checkout: Workspace) -> list[Path]:
    """The objects of the remote."""
    return sorted(path for path in (checkout.root.parent / "store").rglob("*") if path.is_file())


def object_of(checkout: Workspace, content: bytes) -> Path:
    (found,) = (path for path in stored(checkout) if path.read_bytes() == content)
    return found


def test_what_is_published_a_fresh_clone_can_pull(checkout: Workspace) -> None:
    done = push(checkout, POLICY)
    assert done == Publication("remote 'store'", version_here(checkout), 6, 6)
    commit(checkout.root)
    assert data_digest(pull_into_clone(checkout)) == data_digest(checkout.data)
    assert push(checkout, POLICY).sent == 0
    assert verify(checkout) == Publication("remote 'store'", done.version, 6, 0)


def test_a_push_brings_only_what_changed(checkout: Workspace) -> None:
    push(checkout, POLICY)
    path = checkout.data / "corpus" / "tides.md"
    path.write_text(path.read_text() + "Neap tides are small.\n")
    assert push(checkout, POLICY).sent == 2  # the document and the list
    assert verify(checkout).objects == 6


def cut(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:10])


def empty(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("harm", "words"), [(Path.unlink, "is not in"), (cut, "holds other bytes in"), (empty, "holds other bytes in")]
)
def test_an_object_that_was_lost_is_told_by_file_and_mended_by_the_next_push(
    checkout: Workspace, harm: Callable[[Path], None], words: str
) -> None:
    push(checkout, POLICY)
    content = (checkout.data / "corpus" / "piers.md").read_bytes()
    harm(object_of(checkout, content))
    with pytest.raises(ValidationErrors) as raised:
        verify(checkout)
    (fault,) = raised.value.faults
    assert fault.startswith("data/corpus/piers.md: object ")
    assert f" {words}" in fault
    assert push(checkout, POLICY).sent == 1
    assert verify(checkout).objects == 6


def test_a_list_that_was_lost_is_told_and_mended(checkout: Workspace) -> None:
    push(checkout, POLICY)
    (listing,) = (path for path in stored(checkout) if path.name.endswith(".dir"))
    listing.unlink()
    with pytest.raises(ValidationErrors, match=r"data\.dvc: object [0-9a-f]{32}\.dir is not in remote 'store'"):
        verify(checkout)
    push(checkout, POLICY)
    verify(checkout)


def test_dvc_itself_believes_what_is_not_so(checkout: Workspace) -> None:
    """Why a push of our own: the day this fails, `dvc push` can be trusted and ours can go."""
    from dvc.repo import Repo

    push(checkout, POLICY)
    with chdir(checkout.root), Repo() as repo:
        repo.push(["data.dvc"])  # dvc takes note of what the remote holds
        object_of(checkout, (checkout.data / "corpus" / "piers.md").read_bytes()).unlink()
        assert repo.push(["data.dvc"]) == 0
    with pytest.raises(ValidationErrors):
        verify(checkout)


def test_data_that_breaks_its_contract_is_not_published(checkout: Workspace) -> None:
    push(checkout, POLICY)
    pointer = (checkout.root / "data.dvc").read_bytes()
    before = stored(checkout)
    path = checkout.data / "corpus" / "tides.md"
    path.write_text(path.read_text() + "Ask first.last@" + "company.org.\n")
    with pytest.raises(ValidationErrors, match=r"tides\.md:9: personal data: e-mail address"):
        push(checkout, POLICY)
    assert (checkout.root / "data.dvc").read_bytes() == pointer
    assert stored(checkout) == before


def test_a_remote_that_takes_nothing_leaves_data_dvc_as_it_was(
    checkout: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(checkout, POLICY)
    pointer = (checkout.root / "data.dvc").read_bytes()
    path = checkout.data / "corpus" / "tides.md"
    path.write_text(path.read_text() + "Neap tides are small.\n")
    monkeypatch.setattr("sluice.data.dvc_remote.ObjectStore.copy_from", lambda *_: None)  # says yes and does nothing
    with pytest.raises(ValidationErrors, match="cannot store the data") as raised:
        push(checkout, POLICY)
    assert raised.value.faults[0].startswith("data/corpus/tides.md: object ")
    assert (checkout.root / "data.dvc").read_bytes() == pointer


def test_a_remote_that_is_not_there_is_told(checkout: Workspace) -> None:
    with pytest.raises(SluiceError, match="elsewhere"):
        push(checkout, POLICY, "elsewhere")
    (checkout.root / "data.dvc").write_text("outs: []\n")
    with pytest.raises(SluiceError, match="has no md5"):
        verify(checkout)
    (checkout.root / "data.dvc").unlink()
    with pytest.raises(SluiceError, match=r"data\.dvc: no such file"):
        verify(checkout)


# -- in S3


def test_a_bucket_is_published_to_proven_and_pulled_from(checkout: Workspace, bucket: str) -> None:
    import boto3

    make_checkout(checkout.root, f"{bucket}/dvc", cache=checkout.root.parent / "site")
    done = push(checkout, POLICY)
    assert (done.objects, done.sent) == (6, 6)
    commit(checkout.root)
    assert data_digest(pull_into_clone(checkout)) == data_digest(checkout.data)
    client = boto3.client("s3")
    keys = [one["Key"] for one in client.list_objects_v2(Bucket="artefacts", Prefix="sluice/dvc/")["Contents"]]
    first, second, *_ = (key for key in keys if not key.endswith(".dir"))
    client.delete_object(Bucket="artefacts", Key=first)
    client.put_object(Bucket="artefacts", Key=second, Body=b"other")
    with pytest.raises(ValidationErrors) as raised:
        verify(checkout)
    assert len(raised.value.faults) == 2
    assert push(checkout, POLICY).sent == 2
    assert verify(checkout).objects == 6


def test_dvc_gc_removes_old_versions_and_keeps_tips_and_tags(checkout: Workspace) -> None:
    """As data.md says; a release on GitHub is a tag."""

    def published(name: str) -> str:
        path = checkout.data / "corpus" / f"{name}.md"
        path.write_text(f"---\nid: {name}\ntitle: T\nlicence: CC0-1.0\nsource: tests\n---\nOn {name} alone.\n")
        push(checkout, POLICY)
        path.unlink()
        return commit(checkout.root)

    for name in ("old", "tagged", "here"):
        git(checkout.root, "tag", name, published(name))
    git(checkout.root, "tag", "--delete", "old")
    git(checkout.root, "checkout", "--quiet", "data.dvc")
    before = stored(checkout)
    options = ("--workspace", "--all-branches", "--all-tags", "--cloud", "--force")
    subprocess.run([program("dvc"), "gc", *options], cwd=checkout.root, check=True)
    assert len(before) - len(stored(checkout)) == 2  # the list and the document of the first
    for version in ("tagged", "here"):
        git(checkout.root, "checkout", "--quiet", version)
        verify(checkout)
