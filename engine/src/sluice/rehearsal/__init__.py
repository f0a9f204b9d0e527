"""Rehearses the rollout on one machine, with real services, a real proxy and real load."""
