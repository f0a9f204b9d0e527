"""Schema migrations of a store, run by `retrieval/store_schema.py`.

A step only adds, since older releases use the same store. Collections are no part of it.
"""
