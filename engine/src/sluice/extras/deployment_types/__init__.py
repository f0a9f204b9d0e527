"""Rehearses the other types of deployment: blue-green, rolling, shadow, A/B."""
