import pytest

from sluice.extras.fleet.loosened_gates import loosened
from unit.extras.fleet.fake_fleet import GATES


def test_the_same_and_stricter_gates_are_not_loosened() -> None:
    assert loosened(GATES, GATES) == []
    stricter = GATES.replace("limit: 0.8", "limit: 0.9").replace("limit: 0.01", "limit: 0").replace("0.99", "0.95")
    stricter = stricter.replace("smallest: 0.02", "smallest: 0.01").replace("min_samples: 20", "min_samples: 50")
    asked, worse = (GATES.replace("decides: always", f"decides: {word}") for word in ("when_asked", "when_worse"))
    assert loosened(worse, asked) == []
    assert loosened(asked, worse) == []
    assert loosened(GATES, GATES.replace("name: errors,", "name: slow, severity: warn,")) == []
    assert loosened(stricter.replace("{smallest_ratio", "{decides: always, smallest_ratio"), GATES) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("limit: 0.8,", "limit: 0.5,", "recall: limit 0.8 -> 0.5"),
        ("limit: 0.01,", "limit: 0.5,", "errors: limit 0.01 -> 0.5"),
        ("min_samples: 20", "min_samples: 1", "recall: min_samples 20 -> 1"),
        ("name: recall,", "name: recall, severity: warn,", "recall: severity refuse -> warn"),
        ("name: recall,", "name: recalled,", "recall: removed"),
        ("metric: recall,", "metric: mrr,", "recall: measures something else"),
        ("decides: always", "decides: when_asked", "f1: decides always -> when_asked"),
        ("f1: {decides", "f2: {decides", "f1: decides always -> never"),
        ("smallest: 0.02", "smallest: 0.2", "f1: smallest 0.02 -> 0.2"),
        ("smallest: 0.02", "smallest: 0.02, smallest_ratio: 0.1", "f1: smallest_ratio 0 -> 0.1"),
        ("confidence: 0.99", "confidence: 0.9999", "comparison: confidence 0.99 -> 0.9999"),
        ("limit: 0.8,", "limit: none,", "recall: limit 0.8 -> none"),
        ("gates:", "gaets:", "config/gates.yaml: cannot be read"),
        ("gates:", "gates: [", "config/gates.yaml: cannot be read"),
    ],
)
def test_what_lets_more_pass_is_named(old: str, new: str, said: str) -> None:
    assert [str(one) for one in loosened(GATES.replace(old, new, 1), GATES)] == [said]


def test_gates_of_a_part_that_is_off_are_not_missed() -> None:
    text = GATES.replace("stage: load", "stage: index").replace("    f1:", "    language:")
    without = "gates: []\ncomparison: {confidence: 0.99}\n"
    assert [str(one) for one in loosened(without, text, ["admin", "language"])] == ["recall: removed"]
