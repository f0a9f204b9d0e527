"""Load on a service, and the service that it meets."""
