"""The prompt editor of `sluice try`: compares an edited prompt with the one on disk, beside the chat page."""
