"""Hyperparameter search over section `train`: Optuna trials, each scored by its loss on held-out training rows."""
