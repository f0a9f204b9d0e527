"""What the service tells about itself: traces, scores of its users, structured logs. Metrics are in app/metrics.py."""
