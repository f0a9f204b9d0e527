import random
from typing import Any

from sluice.prompts.prompt_diff import PromptChange, TextPiece, ValueChange, diff_prompts, word_diff
from unit.prompts.test_prompt import GOOD, prompt


def change(**changes: Any) -> PromptChange:
    (found,) = diff_prompts({"greet": prompt()}, {"greet": prompt(**changes)})
    return found


def test_every_prompt_of_either_side_by_name() -> None:
    old, new = prompt(), prompt(model="judge")
    found = diff_prompts({"b": old, "c": old, "d": old}, {"a": new, "b": old, "c": new})
    assert [(c.name, c.status) for c in found] == [("a", "added"), ("b", "same"), ("c", "changed"), ("d", "removed")]
    assert [(c.base, c.head) for c in found] == [
        (None, new.digest),
        (old.digest, old.digest),
        (old.digest, new.digest),
        (old.digest, None),
    ]


def test_variables_added_removed_and_changed() -> None:
    found = change(
        messages=[GOOD["messages"][0], {"role": "user", "content": "{{name}}: {{tone}}"}],
        variables=[{"name": "name", "type": "integer"}, {"name": "tone"}],
    )
    needed = {"type": "string", "required": True}
    assert found.variables == (
        ValueChange("name", needed, {"type": "integer", "required": True}),
        ValueChange("text", {"type": "string", "required": False}, None),
        ValueChange("tone", None, needed),
    )


def test_messages_are_compared_with_their_counterparts() -> None:
    found = change(
        messages=[
            {"role": "system", "content": "Greet in two sentences."},
            {"role": "assistant", "content": "Who?"},
            GOOD["messages"][1],
        ]
    )
    assert [(m.base_role, m.head_role, m.same) for m in found.messages] == [
        ("system", "system", False),
        (None, "assistant", False),
        ("user", "user", True),
    ]
    assert found.messages[0].pieces == (
        TextPiece(" ", "Greet"),
        TextPiece("+", " in two sentences"),
        TextPiece(" ", "."),
    )


def test_both_texts_can_be_read_out_of_a_word_diff() -> None:
    draw = random.Random(7)
    words = ["one", "two", "{{x}}", ".", " ", "  ", "\n", "-", "ä", ""]
    assert [piece.text for piece in word_diff("x {{ name }} y", "x {{text}} y")[1:3]] == ["{{ name }}", "{{text}}"]
    for _ in range(100):
        base, head = ("".join(draw.choices(words, k=draw.randrange(12))) for _ in range(2))
        pieces = word_diff(base, head)
        assert "".join(piece.text for piece in pieces if piece.kind != "+") == base
        assert "".join(piece.text for piece in pieces if piece.kind != "-") == head
        assert all(piece.text for piece in pieces)
