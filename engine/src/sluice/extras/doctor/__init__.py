"""Reports what is missing on this machine, on GitHub, in an AWS account and in a cluster."""
