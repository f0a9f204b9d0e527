"""A search for better values of section `train`: trials by Optuna, each judged by its loss on held training rows."""
