"""Loads the traces that the service keeps on disk into MLflow."""
