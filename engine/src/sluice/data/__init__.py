"""The data set: typed rows and documents, the contract every data change must meet, importers from other formats."""
