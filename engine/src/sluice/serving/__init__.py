"""Serves the application of a release: the HTTP API, and what runs the application."""
