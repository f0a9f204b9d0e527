"""Helpers of the tests, in a module for each subject."""
