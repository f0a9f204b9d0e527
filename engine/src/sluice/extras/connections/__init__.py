"""Limits of connections, ahead of every API key."""
