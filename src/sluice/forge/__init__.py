"""The forge: what GitHub shows of a run. Job summary and one comment on the pull request, kept up to date."""

from sluice.forge.comment import Posted, upsert_comment
from sluice.forge.job_summary import write_job_summary

__all__ = ["Posted", "upsert_comment", "write_job_summary"]
