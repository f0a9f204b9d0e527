"""The application: the answer chain and the HTTP service around it."""
