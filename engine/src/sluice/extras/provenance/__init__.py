"""A notebook to explore data, training and releases in; the code that it runs is elsewhere."""
