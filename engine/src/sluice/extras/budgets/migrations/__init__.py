"""The tables of the extra `budgets`."""
