"""The schema of a store, one file for each step in `versions/`; `retrieval/schema.py` runs them.

A step only adds: while it runs, and after a canary was stopped, releases that know nothing of it use the same store.
Collections are no part of it: each is a table of its own, made whole by the code that searches it.
"""
