"""The lowest layer: errors, digests, settings, processes, progress."""
