"""Questions and documents of other formats, brought into the data set."""
