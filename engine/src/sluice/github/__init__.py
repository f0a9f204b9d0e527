"""Integration with GitHub: job plan and verdict of a run, job summary, issues, releases."""
