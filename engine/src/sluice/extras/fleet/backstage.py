"""`sluice fleet backstage`: the projects as entities of a Backstage catalogue, for who uses one.

The form is that of Backstage's schemas Component.v1alpha1 and EntityMeta; what a name may be is said by its
KubernetesValidatorFunctions.isValidObjectName.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import yaml

from sluice.core.errors import ValidationErrors
from sluice.extras.fleet.fleet_file import FleetFile, FleetProject

_NAME = re.compile(r"(?=.{1,63}$)[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")


def catalogue(fleet: FleetFile) -> str:
    """One component for each project, as YAML documents for catalog-info.yaml."""
    counts = Counter(one.repository.partition("/")[2].lower() for one in fleet.projects)
    entities = [_component(one, unique=counts[one.repository.partition("/")[2].lower()] == 1) for one in fleet.projects]
    names = [entity["metadata"]["name"] for entity in entities]
    if faults := [f"{name}: not a name of Backstage" for name in names if not _NAME.fullmatch(name)]:
        remedy = "it takes 63 letters, digits, -, _ and ., with a letter or digit at both ends"
        raise ValidationErrors("fleet.yaml", faults, remedy=remedy)
    return yaml.safe_dump_all(entities, sort_keys=False, explicit_start=True)


def _component(project: FleetProject, *, unique: bool) -> dict[str, Any]:
    owner, _, name = project.repository.partition("/")
    team = project.owners[0].removeprefix("@")
    return {
        "apiVersion": "backstage.io/v1alpha1",
        "kind": "Component",
        "metadata": {
            "name": name if unique else f"{owner}.{name}",
            "annotations": {"github.com/project-slug": project.repository},
        },
        "spec": {
            "type": "service",
            "lifecycle": "production",
            "owner": f"group:{team.partition('/')[2]}" if "/" in team else f"user:{team}",
        },
    }
