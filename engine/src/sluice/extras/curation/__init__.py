"""What is in the data set, how versions differ, and rows that are proposed for it."""
