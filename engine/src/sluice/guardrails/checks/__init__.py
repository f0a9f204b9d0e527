"""The checks of the engine, each added by the decorator `check` (see ../check.py): attacks, leaks and markup."""
