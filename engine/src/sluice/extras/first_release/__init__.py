"""Judges the first release of an environment before visitors reach it."""
