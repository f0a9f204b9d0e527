"""Conversations that the service keeps in PostgreSQL, and the erasure of a person."""
