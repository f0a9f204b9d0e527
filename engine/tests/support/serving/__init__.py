"""The service over scripted models, in this process."""
