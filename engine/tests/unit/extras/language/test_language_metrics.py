"""The language of answers: question, answer, label, and whether both agree (None if the row doesn't count)."""

import pytest

from sluice.evaluation.registry import Label
from sluice.extras.language.metrics import language, same_language

ENGLISH, GERMAN = "How much overlap do neighbouring chunks have?", "Die Sperre läuft nach dreißig Sekunden ab."


@pytest.mark.parametrize(
    ("question", "text", "declined", "label", "passed"),
    [
        (ENGLISH, "The lock expires after thirty seconds.", False, "en", True),
        (ENGLISH, GERMAN, False, "de", False),
        (ENGLISH, "锁在三十秒后失效。", False, "zh", False),
        (ENGLISH, "64 tokens", False, None, True),  # nobody can say, so it is in no other language
        (ENGLISH, "kubectl rollout undo deployment/web", False, None, True),
        (ENGLISH, "", False, None, True),
        (ENGLISH, GERMAN, True, None, None),
        ("p95?", GERMAN, False, "de", None),
    ],
)
def test_languages(row, output, question, text, declined, label, passed) -> None:
    case, answered = row("x", question=question), output(text, declined=declined)
    assert language.score(case, answered) == (None if label is None else Label(label))
    found = same_language.score(case, answered)
    assert (found and found.passed) is passed
    if passed is False:
        assert found.reason == f"asked in en, answered in {label}"
