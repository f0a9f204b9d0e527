"""Integration with GitHub: job plan and verdict of a run, job summary, issues, releases."""

from sluice.github.job_summary import write_job_summary
from sluice.github.marked_text import CommentResult
from sluice.github.tracked_issue import close_issue, upsert_issue

__all__ = ["CommentResult", "close_issue", "upsert_issue", "write_job_summary"]
