"""Artifact stores of machines without a bucket: an OCI registry for files, git for the record."""
