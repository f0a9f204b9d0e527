"""Tools and response formats of callers and `/v1/responses`."""
