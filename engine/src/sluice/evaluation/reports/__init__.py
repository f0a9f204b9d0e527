"""Reports of a comparison: comment.md, report.html and comparison.json."""
