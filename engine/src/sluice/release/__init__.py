"""Releases: gates, manifest, champion, registry, report.

Knows the files of evaluation, not its code.
"""
