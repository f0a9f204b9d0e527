"""Releases: gates, manifest, champion, registry, report. They know the files of evaluation, not its code."""
