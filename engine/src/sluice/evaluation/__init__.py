"""Evaluation: metrics, the runner that asks every case, and the comparison of two results."""
