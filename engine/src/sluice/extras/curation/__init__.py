"""What is in the data set, how versions differ, and what may go."""
