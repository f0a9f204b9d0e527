"""Deploys a release to a cluster with Argo Rollouts and watches the rollout."""
