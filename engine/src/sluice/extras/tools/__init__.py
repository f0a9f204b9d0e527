"""Tools that the model of a release may call: functions of the project and MCP servers, bounded and approved."""
