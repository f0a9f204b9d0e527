"""Functions with `@tool`: LangChain's tools of the application, made when it asks for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sluice.core.errors import SluiceError
from sluice.serving.runner import ApplicationRunner
from sluice.serving.services import TOOLS, tool
from support.serving.fakes import NoChecks, ScriptedChat, ScriptedRetriever, scripted_bundle


@pytest.fixture
def weather() -> Iterator[str]:
    @tool
    def weather_in(city: str, days: int = 1) -> str:
        """The weather of a city."""
        return f"{city}: rain for {days}"

    yield "weather_in"
    del TOOLS.entries["weather_in"], TOOLS._modules["weather_in"]


def test_a_tool_has_name_description_and_schema(weather: str) -> None:
    services = ApplicationRunner(scripted_bundle(), ScriptedChat({}), ScriptedRetriever({}), NoChecks()).services
    made = services.tools[weather]
    assert (made.name, made.description) == ("weather_in", "The weather of a city.")
    assert made.args["city"] == {"title": "City", "type": "string"}
    assert made.args["days"]["default"] == 1
    assert made.invoke({"city": "Riga", "days": 2}) == "Riga: rain for 2"


def test_the_roles_that_are_not_opened_are_named() -> None:
    services = ApplicationRunner(scripted_bundle(), ScriptedChat({}), ScriptedRetriever({}), NoChecks()).services
    with pytest.raises(SluiceError, match=r"no models of the role 'chta' \(did you mean 'chat'\?\)"):
        services.chat("chta")


def test_a_tool_without_a_docstring_is_refused() -> None:
    def silent() -> None:
        pass

    with pytest.raises(SluiceError, match="the tool silent has no docstring"):
        tool(silent)
