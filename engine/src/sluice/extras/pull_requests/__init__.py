"""Pull requests of branches that Sluice keeps, for the extras that propose changes."""
