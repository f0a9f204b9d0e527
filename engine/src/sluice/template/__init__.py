"""The relation of a fork to its template: own settings, and later versions of the template."""
