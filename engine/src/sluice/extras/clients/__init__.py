"""What clients of OpenAI's API and of MCP ask for: tools and forms of their own, `/v1/responses`, `/mcp`."""
