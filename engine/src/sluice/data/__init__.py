"""The dataset: typed rows and documents, the contract for every data change, and importers for other formats."""
