"""What the tests of the stores look at."""
