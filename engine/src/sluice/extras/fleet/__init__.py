"""Many projects from one template: their status, upgrades in rings, who has a vulnerability, new projects."""
