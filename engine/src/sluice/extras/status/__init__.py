"""What is live, how it does, what was decided last, and how much of the error budget is left."""
