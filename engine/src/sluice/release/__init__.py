"""What a release is and whether it may go out: gates, manifest, champion, registry, report.

Knows the files of evaluation, not its code.
"""
