"""The application: what is yours in a project, on top of the engine."""
