"""The ground floor: errors, digests, settings, processes, progress. Imports nothing else of Sluice."""
