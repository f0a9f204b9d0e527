"""Prompt files: load, validate, render, digest. One file per prompt, `prompts/<name>.prompt.yml`."""

from sluice.prompts.prompt import Message, ModelParameters, Prompt, Variable, load_prompt, load_prompts

__all__ = ["Message", "ModelParameters", "Prompt", "Variable", "load_prompt", "load_prompts"]
