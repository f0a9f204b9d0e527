"""A prompt of a release as a LangChain prompt template."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import BaseMessage, convert_to_messages
from langchain_core.prompts import BaseChatPromptTemplate

from sluice.prompts import ModelParameters, Prompt
from sluice.serving.request_state import current_request
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
        """What the file says of temperature, tokens and the like."""
        return self.prompt.parameters

    def format_messages(self, **kwargs: Any) -> list[BaseMessage]:
        with current_request().step(traces.PROMPT) as step:
            wanted = {variable.name for variable in self.prompt.variables}
            messages = self.prompt.render(**{name: value for name, value in kwargs.items() if name in wanted})
            step.text("input", messages)
            return convert_to_messages(messages)
