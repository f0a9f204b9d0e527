"""The names that the template has for itself."""

from sluice.core.project import Project

STARTER = Project(
    name="sluice",
    organisation="example",
    region="eu-west-1",
    image="ghcr.io/example/sluice",
    environments=("staging", "production"),
)
