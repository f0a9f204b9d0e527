"""Metrics of this project: one file each, with the decorator `metric`."""
