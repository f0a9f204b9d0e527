"""Administration of vector stores: backups, tenants, tuning, verification."""
