"""How many GPUs SageMaker's machines have, by AWS's pages on its instance types."""

from __future__ import annotations

# By family; of a size that is not named, "" says how many.
_GPUS = {
    "g4dn": {"": 1, "12xlarge": 4},
    "g5": {"": 1, "12xlarge": 4, "24xlarge": 4, "48xlarge": 8},
    "g6": {"": 1, "12xlarge": 4, "24xlarge": 4, "48xlarge": 8},
    "g6e": {"": 1, "12xlarge": 4, "24xlarge": 4, "48xlarge": 8},
    "p3": {"2xlarge": 1, "8xlarge": 4, "16xlarge": 8},
    "p4d": {"24xlarge": 8},
    "p4de": {"24xlarge": 8},
    "p5": {"4xlarge": 1, "48xlarge": 8},
    "p5e": {"48xlarge": 8},
    "p5en": {"48xlarge": 8},
}
_WITHOUT = "cmrt"  # first letters of the families that have none


def gpus_of(instance_type: str) -> int | None:
    """None where it is not known."""
    family, size = instance_type.removeprefix("ml.").split(".")
    if family in _GPUS:
        return _GPUS[family].get(size, _GPUS[family].get(""))
    return 0 if family[0] in _WITHOUT and not family.startswith("trn") else None
