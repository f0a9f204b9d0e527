"""The tables of the extra `conversations`."""
