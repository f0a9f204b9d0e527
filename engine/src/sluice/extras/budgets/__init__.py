"""Requests, tokens and dollars of a day by key, tenant and in all, held across replicas in PostgreSQL."""
