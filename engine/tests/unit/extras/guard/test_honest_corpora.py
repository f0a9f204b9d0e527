"""Honest texts of wheels: read from the folder that setup has put them in, and missed with a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.extras.guard import corpora
from sluice.extras.guard.guard_features import WINDOW

CODE = "\n".join(f"def check_{n}(row): return row[{n}]" for n in range(30)) + "\n" + "x" * (WINDOW + 1) + "\n}\n"
EXAMPLE = (
    "**To create a user**\n\nThe command makes a user. ::\n\n    aws iam create-user --user-name Bob\n\nOutput::\n"
)
WORDS = (
    'msgid ""\nmsgstr "Language: pl"\n\nmsgid "Wrong password."\nmsgstr "Błędne hasło."\n\nmsgid "Save"\nmsgstr ""\n'
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    files = {
        "django/core/checks/code.py": CODE,
        "django/core/checks/notes.txt": "Not code, and not read as any.",
        "django/conf/locale/pl/LC_MESSAGES/django.po": WORDS,
        "django/conf/locale/fr/LC_MESSAGES/django.po": WORDS.replace("Błędne hasło.", "Mot de passe faux."),
        "django/conf/locale/pl/formats.py": "DATE_FORMAT = 'j E Y'\n",
        "awscli/examples/iam/create-user.rst": EXAMPLE,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_code_commands_and_words_are_honest_rows_and_the_same_every_time(place: Path) -> None:
    rows = corpora.honest_corpora(place)
    assert {row.label for row in rows} == {"benign"}
    texts = {kind: [row.text for row in rows if row.kind == kind] for kind in ("code", "commands", "polish", "tongues")}
    assert sum(map(len, texts.values())) == len(rows)
    assert all("check_" in text and len(text) <= WINDOW for text in texts["code"])
    assert {text.count("\n") for text in texts["code"]} >= {0, 1, 3}
    assert set(texts["commands"]) == {
        "**To create a user**",
        "The command makes a user. ::",
        "aws iam create-user --user-name Bob",
    }
    assert (texts["polish"], texts["tongues"]) == (["Błędne hasło."], ["Mot de passe faux."])
    assert {row.family for row in rows} == {
        "code/corpora-core-checks",
        "commands/corpora-iam",
        "polish/corpora-conf-locale",
        "tongues/corpora-conf-locale",
    }
    assert corpora.honest_corpora(place) == rows


def test_no_more_rows_are_taken_than_wanted(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpora, "_CODE", 5)
    assert sum(row.kind == "code" for row in corpora.honest_corpora(place)) == 5


def test_without_a_wheel_the_way_out_is_named(place: Path) -> None:
    (place / "awscli").rename(place / "gone")
    for folder in (place, place / "nowhere"):
        with pytest.raises(SluiceError, match="honest corpora of Django and awscli") as caught:
            corpora.honest_corpora(folder)
        assert "make setup" in caught.value.remedy
        assert "guard.honest" in caught.value.remedy
