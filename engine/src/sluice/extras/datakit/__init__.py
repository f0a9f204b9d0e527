"""Rows in: documents and rows that are imported, harvested from traffic or generated, and the data set they enter."""
