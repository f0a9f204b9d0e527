"""Connections that misbehave."""
