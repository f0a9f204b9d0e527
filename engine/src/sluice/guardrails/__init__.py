"""Checks of model input and output. Validators of guardrails-ai run beside them."""
