"""This repository and the template that it was made from: its own names, and later versions of the template."""
