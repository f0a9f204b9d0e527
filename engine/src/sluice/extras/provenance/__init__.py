"""Checksums of a release, and scores that anybody can recompute."""
