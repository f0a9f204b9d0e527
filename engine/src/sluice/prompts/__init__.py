"""Prompt files: load, validate, render, digest, compare. One file per prompt, `prompts/<name>.prompt.yml`."""

from sluice.prompts.prompt import Message, ModelParameters, Prompt, Variable
from sluice.prompts.prompt_diff import PromptChange, diff_prompts
from sluice.prompts.prompt_files import load_prompt, load_prompts, parse_prompts

__all__ = [
    "Message",
    "ModelParameters",
    "Prompt",
    "PromptChange",
    "Variable",
    "diff_prompts",
    "load_prompt",
    "load_prompts",
    "parse_prompts",
]
