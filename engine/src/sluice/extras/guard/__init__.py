"""The guard model: rows and attack corpora in, one safetensors file and a report out."""
