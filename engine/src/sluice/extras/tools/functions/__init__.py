"""Functions that come with the extra; config/tools.yaml says which of them a model is offered."""
