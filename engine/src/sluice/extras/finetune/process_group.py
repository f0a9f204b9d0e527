"""Training in several processes: `torchrun --nproc-per-node N --no-python sluice train`.

torchrun (and SageMaker's torchrun distribution) gives every process its rank in RANK, LOCAL_RANK and WORLD_SIZE;
they are joined before a model is loaded, through nccl on GPUs and through gloo on processors.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sluice.core.errors import SluiceError

# For a process that lives but does not answer; a dead one is noticed at once. The others wait while the first writes
# and hashes a checkpoint, which has 96 GB where 8 billion weights are trained.
PATIENCE = timedelta(hours=1)


@dataclass(frozen=True)
class ProcessGroup:
    """This process among those that train together. Process 0 alone writes files and reports."""

    rank: int
    world: int
    device: str

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def agreed(self, value: Any) -> Any:
        """What process 0 has, on each of them."""
        box = [value]
        if self.world > 1:
            import torch

            torch.distributed.broadcast_object_list(box, src=0)
        return box[0]


@contextmanager
def joined(device: str) -> Iterator[ProcessGroup]:
    """The group that the environment names; what joins it in the block is undone after it."""
    import torch

    cuda = torch.cuda.is_available()
    if device == "cuda" and not cuda:
        raise SluiceError("train.device is cuda, but torch finds no GPU here", remedy="set it to auto or cpu")
    place = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if cuda and device != "cpu" else "cpu"
    group = ProcessGroup(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")), place)
    try:
        if group.world > 1:
            if place != "cpu":
                torch.cuda.set_device(place)
            backend = "gloo" if place == "cpu" else "cpu:gloo,cuda:nccl"
            torch.distributed.init_process_group(backend, rank=group.rank, world_size=group.world, timeout=PATIENCE)
        yield group
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
