"""Schema migrations of a store, one file for each step in `versions/`; `retrieval/store_schema.py` runs them.

A step only adds: while it runs, and after a stopped canary, older releases use the same store. Collections are no part
of it: each is a table of its own, made whole by the code that searches it.
"""
