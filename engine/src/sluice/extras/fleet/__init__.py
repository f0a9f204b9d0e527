"""Many projects from one template: their status, upgrades in rings and vulnerabilities."""
