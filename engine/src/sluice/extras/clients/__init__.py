"""Tools and response formats of callers, `/v1/responses` and `/mcp`."""
