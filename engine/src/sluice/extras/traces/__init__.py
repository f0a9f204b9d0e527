"""Sends traces to MLflow, Langfuse or a collector, and loads those that were kept on disk into MLflow."""
