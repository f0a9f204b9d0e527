"""Code of the notebook that explores data, training and releases."""
