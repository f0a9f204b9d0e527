"""Checks of model input and output: one file for each check. Validators of guardrails-ai run beside them."""
