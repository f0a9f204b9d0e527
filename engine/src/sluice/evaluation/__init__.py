"""Evaluation: metrics (one file each), the runner that asks every case, and the result files that gates read."""
