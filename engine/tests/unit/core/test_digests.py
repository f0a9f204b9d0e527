from pathlib import Path

from sluice.core.digests import digest_of, digest_of_code


def test_digest_is_the_same_for_ever() -> None:
    # A release id of last year must come out the same: this value may never change.
    value = {"name": "answer", "parameters": {"temperature": 0.0}, "messages": ["é"]}
    assert digest_of(value) == "3a35214b28c286d077088cd565809b910bb5498bc905b8ca0650d8212e9d11fe"


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
