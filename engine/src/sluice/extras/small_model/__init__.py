"""Help for a small model: chosen sentences, spelling, follow-up questions, small talk, answers that are spans."""
