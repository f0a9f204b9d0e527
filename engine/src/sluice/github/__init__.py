"""The forge: what GitHub asks and shows of a run: its plan and verdict, the job summary, a comment, an issue."""

from sluice.github.comment import Posted, upsert_comment
from sluice.github.issue import close_issue, upsert_issue
from sluice.github.job_summary import write_job_summary

__all__ = ["Posted", "close_issue", "upsert_comment", "upsert_issue", "write_job_summary"]
