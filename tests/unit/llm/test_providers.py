from __future__ import annotations

import pytest

from sluice.core.processes import free_port
from sluice.llm.providers import chat_model
from sluice.prompts import ModelParameters


def test_every_parameter_is_sent() -> None:
    parameters = ModelParameters.model_validate(
        {"temperature": 0.5, "maxTokens": 7, "topP": 0.9, "seed": 3, "stop": ["\n"]}
    )
    model = chat_model("http://127.0.0.1:1", timeout=4, parameters=parameters)
    sent = model._get_request_payload("hello")  # type: ignore[attr-defined]
    assert (sent["temperature"], sent["max_completion_tokens"], sent["top_p"], sent["seed"], sent["stop"]) == (
        0.5,
        7,
        0.9,
        3,
        ["\n"],
    )


@pytest.mark.usefixtures("loopback")
def test_a_server_that_is_not_there_fails_at_once() -> None:
    model = chat_model(f"http://127.0.0.1:{free_port()}", timeout=5, parameters=ModelParameters.model_validate({}))
    with pytest.raises(Exception, match="Connection error"):
        model.invoke("hello")
