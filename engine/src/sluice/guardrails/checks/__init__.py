"""The checks of the engine: attacks, leaks and markup."""
