"""Attacks on a running service, judged by its responses. Runs as `sluice redteam`.

`suites/` has one file a family of attacks, `cases/` their wordings, `attack_target.py` the attacked service,
`attack_success.py` the figures that config/gates.yaml decides about.
"""
