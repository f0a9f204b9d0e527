"""Prompt files: load, validate, render, digest. One file per prompt, `prompts/<name>.prompt.yml`."""

from sluice.prompts.files import load_prompt, load_prompts
from sluice.prompts.prompt import Message, ModelParameters, Prompt, Variable

__all__ = ["Message", "ModelParameters", "Prompt", "Variable", "load_prompt", "load_prompts"]
