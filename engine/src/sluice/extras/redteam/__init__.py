"""Attacks on a running service, judged by its responses. Runs as `sluice redteam`."""
