from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from sluice.core.digests import canonical_json, digest_of, digest_of_code, digest_of_file


def test_order_of_keys_does_not_matter() -> None:
    assert digest_of({"b": 1, "a": [1, 2]}) == digest_of({"a": [1, 2], "b": 1})
    assert digest_of([1, 2]) != digest_of([2, 1])


def test_canonical_form_is_compact_sorted_utf8() -> None:
    assert canonical_json({"ü": "é", "a": [1, None, True]}) == '{"a":[1,null,true],"ü":"é"}'.encode()


def test_digest_is_the_same_for_ever() -> None:
    # A release id of last year must come out the same: this value may never change.
    value = {"name": "answer", "parameters": {"temperature": 0.0}, "messages": ["é"]}
    assert digest_of(value) == "3a35214b28c286d077088cd565809b910bb5498bc905b8ca0650d8212e9d11fe"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_numbers_that_json_does_not_have_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(value)


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1])
def test_digest_of_file_is_that_of_its_bytes(tmp_path: Path, size: int) -> None:
    content = b"x" * size
    (tmp_path / "f").write_bytes(content)
    assert digest_of_file(tmp_path / "f") == hashlib.sha256(content).hexdigest()


def test_code_is_its_python_files_by_path(tmp_path: Path) -> None:
    folder = tmp_path / "package"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "a.py").write_text("1")
    first = digest_of_code(folder)
    (folder / "page.html").write_text("x")
    assert digest_of_code(folder) == first
    (folder / "below" / "a.py").rename(folder / "below" / "b.py")
    moved = digest_of_code(folder)
    (folder / "below" / "b.py").write_text("2")
    assert len({first, moved, digest_of_code(folder)}) == 3
