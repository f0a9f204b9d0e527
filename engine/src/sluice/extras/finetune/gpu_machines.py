"""GPUs of machines that can be hired, by AWS's pages on its instance types and NVIDIA's data sheets of the cards.

The figures of a card are nominal: GiB of memory, and TFLOPS of dense products in bfloat16, 0 where it has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class GpuCard:
    """One GPU."""

    name: str
    memory_gib: int
    tflops: int


@dataclass(frozen=True)
class GpuMachine:
    """`count` cards, and the memory of their machine in GiB. `name`: instance type without `ml.`."""

    name: str
    card: GpuCard
    count: int
    host_gib: int


_A10G, _L4, _L40S = GpuCard("A10G", 24, 70), GpuCard("L4", 24, 121), GpuCard("L40S", 48, 362)
_A100, _H100, _H200 = GpuCard("A100", 40, 312), GpuCard("H100", 80, 989), GpuCard("H200", 141, 989)
_SMALL = {"xlarge": (1, 16), "2xlarge": (1, 32), "4xlarge": (1, 64), "8xlarge": (1, 128), "16xlarge": (1, 256)}
_SMALL |= {"12xlarge": (4, 192), "24xlarge": (4, 384), "48xlarge": (8, 768)}
# By family, smallest first: the card, and of each size how many, and GiB of memory.
_FAMILIES: dict[str, tuple[GpuCard, dict[str, tuple[int, int]]]] = {
    "g4dn": (GpuCard("T4", 16, 0), {**_SMALL, "12xlarge": (4, 192)}),
    "g5": (_A10G, _SMALL),
    "g6": (_L4, _SMALL),
    "g6e": (_L40S, {size: (count, 2 * host) for size, (count, host) in _SMALL.items()}),
    "p3": (GpuCard("V100", 16, 0), {"2xlarge": (1, 61), "8xlarge": (4, 244), "16xlarge": (8, 488)}),
    "p4d": (_A100, {"24xlarge": (8, 1152)}),
    "p4de": (GpuCard("A100", 80, 312), {"24xlarge": (8, 1152)}),
    "p5": (_H100, {"4xlarge": (1, 256), "48xlarge": (8, 2048)}),
    "p5e": (_H200, {"48xlarge": (8, 2048)}),
    "p5en": (_H200, {"48xlarge": (8, 2048)}),
}
_WITHOUT = "cmrt"  # first letters of the families that have none


def machine_of(instance_type: str) -> GpuMachine | None:
    """The GPUs of an instance type."""
    family, _, size = instance_type.removeprefix("ml.").partition(".")
    card, sizes = _FAMILIES.get(family, (None, {}))
    return GpuMachine(f"{family}.{size}", card, *sizes[size]) if card and size in sizes else None


def gpus_of(instance_type: str) -> int | None:
    """How many GPUs an instance type has."""
    if machine := machine_of(instance_type):
        return machine.count
    family = instance_type.removeprefix("ml.").partition(".")[0]
    return 0 if family[0] in _WITHOUT and not family.startswith("trn") else None


def gpu_machines() -> Iterator[GpuMachine]:
    """All that compute in bfloat16."""
    for family, (card, sizes) in _FAMILIES.items():
        if card.tflops:
            yield from (GpuMachine(f"{family}.{size}", card, *found) for size, found in sizes.items())
