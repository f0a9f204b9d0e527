"""The canary: the Rollout file as a plan, the traffic router, the load stage, and the rehearsal on one machine."""
