"""Kinds of providers of this project: one file each, with the decorator `provider`."""
