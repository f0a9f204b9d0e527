"""Prompts by themselves: filled in with values, and tried on their own cases with the provider of their role."""
