"""A run of the service with personal data and secrets of many people, and the search for what it left of them."""

import asyncio
import logging
from pathlib import Path

from stdnum.luhn import calc_check_digit

from sluice.guardrails.guards import Guards
from sluice.serving.feedback import FeedbackLog
from sluice.serving.http_api import create_app
from sluice.serving.middleware import TrafficState
from sluice.serving.release_parts import ReleaseBundle
from sluice.serving.runner import ApplicationRunner
from sluice.serving.telemetry.service_log import logging_of
from sluice.serving.telemetry.telemetry import open_telemetry
from support.serving.fakes import ScriptedChat, ScriptedRetriever, hit
from support.telemetry.collector import telemetry_settings
from unit.serving.client import Client

MANY = 25  # people
SENTENCES = (
    "Write to {mail}, please.",
    "My number is {phone}; call after ten.",
    "The card {card} was charged twice.",
    "The key {key} does not work.",
    "I set password: {password} and it fails.",
)


def person(number: int) -> dict[str, str]:
    """Data of somebody who does not exist, different for each number."""
    card = f"4111 11{number:02} 0000 000"
    return {
        "mail": f"seeded.{number}@example.org",
        "phone": f"+1 555 0{number:02} 4567",
        "card": f"{card}{calc_check_digit(card.replace(' ', ''))}",
        "key": "AKIA" + f"SEEDED{number:02}QRSTUVWX",
        "password": f"hunter{number:02}x-seeded",
    }


def serve_people(folder: Path, bundle: ReleaseBundle, guards: Guards) -> None:
    """Each person tells it in the question, the passages quote it, the model repeats it, and feedback has it again.

    Contents of traces are switched on: that is what could leak. Traces, feedback and the log are left in `folder`."""
    people = [person(number) for number in range(MANY)]
    told = {
        f"Case {number}: {SENTENCES[number % len(SENTENCES)].format(**data)}": data
        for number, data in enumerate(people)
    }
    seen = {_guarded(guards, question): question for question in told}
    retriever = ScriptedRetriever({clean: [hit(question, doc_id="mail")] for clean, question in seen.items()})
    chat = ScriptedChat({f"Case {n}:": " ".join(SENTENCES).format(**data) for n, data in enumerate(people)})
    runner, feedback = ApplicationRunner(bundle, chat, retriever, guards), FeedbackLog(folder / "feedback")
    settings = telemetry_settings("mlflow", level="debug", access=True, contents=True)
    with (
        (folder / "log").open("w") as log,
        logging_of(settings.logs, bundle.release, log),
        open_telemetry(settings, bundle, folder / ".sluice") as telemetry,
    ):
        client = Client(create_app(bundle, runner, TrafficState(), telemetry=telemetry, feedback=feedback))
        for question, data in told.items():
            reply = client.chat(question)
            assert reply.status_code == 200, reply.text
            comment = " ".join(SENTENCES).format(**data)
            sent = client.send(
                "POST",
                "/v1/feedback",
                json={"trace_id": reply.json()["id"], "score": 1, "release": bundle.release, "comment": comment},
            )
            assert sent.status_code == 200, sent.text
            logging.getLogger("sluice.serving").warning("asked: %s", question)


def left_of_people(folder: Path) -> list[tuple[str, str]]:
    """The files below `folder` that hold data of a person, each with what it holds."""
    kept = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return [
        (where, value)
        for where, content in kept.items()
        for number in range(MANY)
        for value in person(number).values()
        if value.encode() in content or value.replace(" ", "").encode() in content
    ]


def _guarded(guards: Guards, question: str) -> str:
    """The question as the search gets it."""
    return str(asyncio.run(guards.check_input(question)).text)
