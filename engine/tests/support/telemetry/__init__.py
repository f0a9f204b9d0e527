"""Where traces are sent to."""
