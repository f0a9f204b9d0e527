"""Administration of vector stores: contents, verification, tenants, collections that nothing needs."""
