"""The lowest layer: errors, digests, settings, processes, progress. It imports no other package of Sluice."""
