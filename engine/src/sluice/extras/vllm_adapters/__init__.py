"""One vLLM beside all releases that are alive: each has its own adapter there, registered while vLLM runs."""
