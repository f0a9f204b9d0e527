"""An application's services: models by role, search, guards, prompts, settings, and tools with `@tool`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from inspect import signature
from typing import Any, TypeVar

from langchain_core.messages import BaseMessage, convert_to_messages
from langchain_core.prompts import BaseChatPromptTemplate
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, StructuredTool

from sluice.core.errors import SluiceError
from sluice.core.extras import hooks, packages
from sluice.core.registry import APPLICATION, Registry
from sluice.core.settings import nearest
from sluice.guardrails.check import Checks
from sluice.prompts import ModelParameters, Prompt
from sluice.serving.chat_model import ChatModel
from sluice.serving.conversation import STEP, Conversation
from sluice.serving.passage_retriever import PassageRetriever, SearchResult
from sluice.serving.release_parts import ReleaseBundle, require_prompt
from sluice.serving.request_state import RequestState, current_request
from sluice.serving.settings import ServiceSettings
from sluice.serving.telemetry import traces


class ReleasePrompt(BaseChatPromptTemplate):
    """Fills the messages of prompts/<name>.prompt.yml, and notes them in the trace of the request.

    Attributes:
        prompt: the file.
    """

    prompt: Prompt

    @classmethod
    def of(cls, prompt: Prompt) -> ReleasePrompt:
        """The template of a file; values for other variables than its own are left out."""
        return cls(prompt=prompt, input_variables=[variable.name for variable in prompt.variables if variable.required])

    @property
    def parameters(self) -> ModelParameters:
        """The file's temperature, token limit and other parameters."""
        return self.prompt.parameters

    def format_messages(self, **kwargs: Any) -> list[BaseMessage]:
        with current_request().step(traces.PROMPT) as step:
            wanted = {variable.name for variable in self.prompt.variables}
            messages = self.prompt.render(**{name: value for name, value in kwargs.items() if name in wanted})
            step.text("input", messages)
            return convert_to_messages(messages)


TOOLS: Registry[Callable[..., Any]] = Registry("tool", *packages("functions"), f"{APPLICATION}.tools")
F = TypeVar("F", bound=Callable[..., Any])


def tool(function: F) -> F:
    """Function decorator: `Services.tools` has the function under its name.

    Raises:
        SluiceError: it has no docstring, which is what a model knows of it, or its name is taken.
    """
    if not (function.__doc__ or "").strip():
        raise SluiceError(f"{function.__module__}: the tool {function.__name__} has no docstring")
    TOOLS.add(function.__name__, function, function.__module__)
    return function


@dataclass(frozen=True)
class Services:
    """The engine's services for `build(services)` of an application.

    Attributes:
        settings: config/service.yaml of the release.
        prompts: the prompts of the release, by name, as LangChain's templates; `prompt` also checks one.
        retriever: the search, a LangChain retriever.
        guards: the guards, for texts that reach a model beside the question and the passages.
        models: LangChain's chat models by role; `chat` gives one.
        request: what is being answered in this task.
        takes: which wishes of a caller the application takes: `tools`, `response_format`.
        kept: what an extra keeps as long as the release is served, by the name of the extra.
        small_model: the help for a small model, where the release has some.
    """

    bundle: ReleaseBundle
    retriever: PassageRetriever
    guards: Checks
    models: Mapping[str, ChatModel]
    takes: set[str] = field(default_factory=set)
    kept: dict[str, Any] = field(default_factory=dict)
    small_model: Any = None

    @property
    def settings(self) -> ServiceSettings:
        return self.bundle.service

    @property
    def request(self) -> RequestState:
        return current_request()

    @cached_property
    def prompts(self) -> Mapping[str, ReleasePrompt]:
        return {name: ReleasePrompt.of(prompt) for name, prompt in self.bundle.prompts.items()}

    @cached_property
    def tools(self) -> Mapping[str, BaseTool]:
        """The functions with `@tool`, as LangChain's tools, by name; without those that write, which ask for an
        `idempotency_key`."""
        read = {name: one for name, one in TOOLS.items() if "idempotency_key" not in signature(one).parameters}
        return {name: StructuredTool.from_function(function) for name, function in read.items()}

    def chat(self, role: str = "chat", prompt: ReleasePrompt | None = None, *, caller: Sequence[str] = ()) -> ChatModel:
        """The models of a role as one LangChain chat model.

        Args:
            role: of config/providers.yaml.
            prompt: whose parameters it is asked with.
            caller: which wishes of a caller it is asked with: `tools`, `response_format`. What no model of the
                application is asked with is refused.

        Returns:
            The model.

        Raises:
            SluiceError: the service opens no models of that role.
        """
        if role not in self.models:
            known = list(self.models)
            raise SluiceError(
                f"the service opens no models of the role {role!r}{nearest(role, known)}",
                remedy=f"use {' or '.join(known)}",
            )
        self.takes.update(caller)
        update: dict[str, Any] = {"caller": frozenset(caller)} | ({"parameters": prompt.parameters} if prompt else {})
        return self.models[role].model_copy(update=update)

    def agent(self, model: ChatModel) -> Runnable[Any, Any] | None:
        """A model in a bounded loop with the tools of config/tools.yaml.

        Args:
            model: who is asked.

        Returns:
            A Runnable over messages, as the model is; None where the release offers its model no tools.
        """
        return next((make(self, model) for make in hooks("agent").values()), None)

    def conversation(self) -> Conversation:
        """The question of each request, made to stand alone where `condense` is on, and its earlier turns.

        Returns:
            What gives both.

        Raises:
            SluiceError: `condense` is on, and its prompt does not fit.
        """
        condense, rewriter = self.settings.condense, None
        if condense and condense.enabled:
            prompt = self.prompt(STEP, fills=("history", "question"), needs=("history", "question"))
            rewriter = prompt | self.chat("chat", prompt)
        return Conversation(condense, self.guards, rewriter)

    async def find(self, question: str, turns: Sequence[dict[str, str]] = (), *, alone: bool = True) -> SearchResult:
        """The passages for a question: those of `retriever`. For a small model (`small_model` of config/service.yaml)
        they are the sentences that say most, and where they seem not to answer, the application should decline.

        Args:
            question: to search for.
            turns: said before it. Only the help for a small model uses them.
            alone: whether the model answers in its own words, without tools and in no form of the caller's.

        Returns:
            What to show the model, and whether to ask it.

        Raises:
            SearchError: the search failed; ModelTimeoutError: the deadline has passed.
        """
        if self.small_model:
            found: SearchResult = await self.small_model.find(question, turns, alone=alone)
            return found
        return SearchResult(await self.retriever.ainvoke(question))

    def prompt(self, name: str, *, fills: Sequence[str], needs: Sequence[str] = ()) -> ReleasePrompt:
        """A prompt of the release, as a LangChain template.

        Args:
            name: prompts/<name>.prompt.yml.
            fills: the variables that the application has values for.
            needs: those that a message must hold.

        Returns:
            The prompt.

        Raises:
            SluiceError: there is no such prompt, its role is not `chat`, or its variables are others.
        """
        prompt = require_prompt(self.bundle, name)
        wanted = {variable.name for variable in prompt.variables}
        for variable in sorted(wanted - set(fills)):
            raise SluiceError(
                f"prompts/{name}.prompt.yml: variables: nothing fills {variable!r}{nearest(variable, sorted(fills))}",
                remedy=f"the application fills {', '.join(sorted(fills))}",
            )
        for variable in sorted(set(needs) - wanted):
            raise SluiceError(
                f"prompts/{name}.prompt.yml: no message holds {{{{{variable}}}}}",
                remedy="add it, or the question never reaches the model",
            )
        return self.prompts[name]
