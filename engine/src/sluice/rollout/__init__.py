"""The canary: the Rollout file as a plan, measurements of the load stage, and quality verdicts."""
