"""What is missing to work in a place: on this machine, on GitHub, in an AWS account, in a cluster."""
