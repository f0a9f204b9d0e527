import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sluice.serving.telemetry.service_log import logging_of
from sluice.serving.telemetry.settings import LogSettings
from support.serving.fakes import ScriptedChat

Serve = Callable[..., Any]
SETTINGS = LogSettings.model_validate({"level": "info", "format": "json", "access": True})
SHAPED_LIKE_A_KEY = "AKIA" + "IOSFODNN7ABCDEFG"


class Log:
    """The log of a service, into a file that is read when it is closed."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.path = path
        self._stack = ExitStack()
        stream = self._stack.enter_context(path.open("w"))
        chosen = SETTINGS.model_copy(update=settings)
        self.handler = self._stack.enter_context(logging_of(chosen, "r-0123456789ab", stream))

    def lines(self) -> list[Any]:
        self._stack.close()
        return [json.loads(line) for line in self.path.read_text().splitlines()]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    opened = Log(tmp_path / "log")
    yield opened
    opened.lines()


def test_a_request_is_one_line_with_figures_and_no_text(serve: Serve, log: Log) -> None:
    service = serve()
    service.telemetry.access = True
    reply = service.chat()
    (line,) = log.lines()
    assert line["time"].endswith("Z")
    assert (line["level"], line["logger"], line["message"]) == ("info", "sluice.access", "request")
    assert (line["release"], line["trace"]) == ("r-0123456789ab", reply.json()["trace"])
    assert (line["route"], line["status"]) == ("/v1/chat/completions", 200)
    assert (line["tokens_in"], line["tokens_out"], line["hits"]) == (11, 2, 2)
    assert (line["guard_input"], line["guard_output"]) == ("passed", "passed")
    assert line["ms"] >= line["model_ms"] > 0
    assert "overlap" not in json.dumps(line)


def test_a_failure_has_the_trace_id_and_neither_question_nor_secret(serve: Serve, log: Log) -> None:
    model = ScriptedChat(script={"overlap": ConnectionError(f"key {SHAPED_LIKE_A_KEY} of a@example.org was refused")})
    service = serve(model=model)
    service.telemetry.access = True
    reply = service.chat()
    failure, access = log.lines()
    assert failure["level"] == "error"
    assert failure["trace"] == access["trace"] == reply.headers["x-sluice-trace"]
    assert access["error"] == "ModelError"
    everything = json.dumps([failure, access])
    for hidden in (SHAPED_LIKE_A_KEY, "a@example.org", "overlap"):
        assert hidden not in everything


def test_a_defect_is_told_by_its_places_and_not_by_what_it_quotes(log: Log) -> None:
    try:
        try:
            raise KeyError("what a user wrote")
        except KeyError as error:
            raise ValueError("also what a user wrote") from error
    except ValueError:
        logging.getLogger("sluice.x").exception("the chain broke")
    (line,) = log.lines()
    assert line["error"] == "ValueError"
    assert "test_service_log.py" in line["traceback"]
    assert "caused by" in line["traceback"]
    assert "KeyError" in line["traceback"]
    assert "wrote" not in json.dumps(line)


def test_uvicorn_and_libraries_are_in_the_same_form(log: Log) -> None:
    logging.getLogger("uvicorn.error").error("Invalid HTTP request received.")
    logging.getLogger("httpx").info("HTTP Request: POST https://example.org/?q=text")
    (line,) = log.lines()
    assert (line["logger"], line["message"]) == ("uvicorn.error", "Invalid HTTP request received.")


def test_people_get_plain_lines(tmp_path: Path) -> None:
    log = Log(tmp_path / "log", format="text")
    logging.getLogger("sluice.access").info("request", extra={"fields": {"status": 200, "ms": 1.5}})
    log._stack.close()
    assert log.path.read_text()[9:] == "info    request status=200 ms=1.5\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_costs_lines_and_no_request(serve: Serve) -> None:
    lost: Counter[str] = Counter()
    service = serve()
    service.telemetry.access = True
    with Path("/dev/full").open("w") as full, logging_of(SETTINGS, "r", full) as handler:
        handler.on_lost = lambda reason, many: lost.update({reason: many})
        assert [service.chat().status_code for _ in range(3)] == [200] * 3
    assert lost["disk"] >= 3


def test_a_reader_that_stands_still_holds_nothing_up(serve: Serve) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, True)
    service = serve()
    lost: Counter[str] = Counter()
    with os.fdopen(writing, "w") as stream:
        with logging_of(SETTINGS, "r", stream) as handler:
            handler.on_lost = lambda reason, many: lost.update({reason: many})
            for _ in range(12_000):  # more than a pipe and the queue hold
                logging.getLogger("sluice.x").warning("y" * 100)
            assert service.chat().status_code == 200
        os.read(reading, 1 << 20)
        # Lets the thread that still writes come to its end.
        os.close(reading)
    assert lost["queue_full"] > 0
    assert lost["shutdown"] > 0
