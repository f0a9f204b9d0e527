"""Deploys a release into a cluster with Argo Rollouts, and follows it."""
