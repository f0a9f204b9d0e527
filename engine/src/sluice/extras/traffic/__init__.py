"""Recorded traffic: its drift from the evaluation set, and new rows from it."""
