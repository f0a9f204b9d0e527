"""Attacks on a running service: which of them succeed, by what comes back. `sluice redteam` runs it.

`suites/` has one file a family of attacks, `cases/` their wordings, `target.py` what is attacked, `measure.py` the
figures that config/gates.yaml decides about.
"""
