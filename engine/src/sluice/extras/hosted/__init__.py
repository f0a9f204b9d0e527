"""Answers for pull requests that have no key of a hosted model."""
