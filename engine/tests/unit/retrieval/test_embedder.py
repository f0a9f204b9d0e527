import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from sluice.core.errors import SluiceError
from sluice.core.processes import wait_until
from sluice.retrieval.embedder import DynamicBatcher, Embedder


def test_what_waits_is_taken_together_up_to_the_size() -> None:
    open_gate = threading.Event()
    taken: list[list[int]] = []

    def double(items: list[int]) -> list[int]:
        taken.append(items)
        assert open_gate.wait(60)
        return [2 * item for item in items]

    batches = DynamicBatcher(double, size=3)
    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(batches.ask, 0)
        assert wait_until(lambda: taken == [[0]], seconds=60, every=0.01)
        others = [pool.submit(batches.ask, number) for number in range(1, 6)]
        assert wait_until(lambda: len(batches._waiting) == 5, seconds=60, every=0.01)
        open_gate.set()
        assert first.result(60) == 0
        assert [other.result(60) for other in others] == [2, 4, 6, 8, 10]
    assert [len(items) for items in taken] == [1, 3, 2]


def test_an_error_is_that_of_its_own_batch_and_the_next_one_works() -> None:
    def invert(items: list[float]) -> list[float]:
        return [1 / item for item in items]

    batches = DynamicBatcher(invert, size=4)
    with pytest.raises(ZeroDivisionError):
        batches.ask(0)
    assert batches.ask(4) == 0.25


@pytest.mark.parametrize("content", [None, b"no archive"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.zip"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SluiceError, match=r"model\.zip: the embedder cannot be read") as caught:
        Embedder(path)
    assert "make release" in caught.value.remedy


@pytest.mark.real
@pytest.mark.parametrize("text", ["漢" * 1800, "word " * 5000])
def test_a_text_with_too_many_tokens_is_cut(embedder: Embedder, text: str) -> None:
    found = embedder.embed(["short", text, "other"])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-4)
    assert float(found[0] @ embedder.embed(["short"])[0]) > 0.999


@pytest.mark.real
def test_order_is_that_of_the_texts_across_batches_and_threads(embedder: Embedder) -> None:
    texts = [f"{'chunks ' * (number % 7)}number {number}" for number in range(70)]
    one_by_one = np.concatenate([embedder.embed([text]) for text in texts])
    with ThreadPoolExecutor(8) as pool:
        by_threads = np.concatenate(list(pool.map(lambda text: embedder.embed([text]), texts)))
    for found in (embedder.embed(texts), by_threads):
        assert (found @ one_by_one.T).argmax(axis=1).tolist() == list(range(70))


@pytest.mark.real
def test_tokens_have_their_vectors_in_the_order_of_the_texts(embedder: Embedder) -> None:
    texts = [f"{'chunks ' * (number % 7)}canary {number}" for number in range(300)]
    found = embedder.token_states(texts)
    assert [one.tokens[-1] for one in found] == [embedder.token_states([text])[0].tokens[-1] for text in texts]
    assert all(one.states.shape == (len(one.tokens), 384) and len(one.ids) == len(one.tokens) for one in found)
    first = embedder.token_states([texts[0]])[0]
    assert list(first.tokens) == ["canary", "0"]  # without the marks at the ends
    np.testing.assert_allclose(
        first.states, found[0].states, atol=0.05
    )  # int8: what stands beside it shifts it a little


@pytest.mark.real
@pytest.mark.parametrize("text", ["", "\x00"])
def test_a_text_without_tokens_has_the_marks(embedder: Embedder, text: str) -> None:
    assert list(embedder.token_states([text])[0].tokens) == ["[CLS]", "[SEP]"]
