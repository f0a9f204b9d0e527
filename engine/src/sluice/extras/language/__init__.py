"""The languages of questions and answers."""
