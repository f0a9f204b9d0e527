"""Distributed training in several processes: `torchrun --nproc-per-node N --no-python sluice train`.

torchrun (and SageMaker's torchrun distribution) gives every process its rank in RANK, LOCAL_RANK and WORLD_SIZE. They
talk through nccl on GPUs and through gloo on processors.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sluice.core.errors import SluiceError

_PATIENCE = timedelta(minutes=10)  # for a process that lives but does not answer; a dead one is noticed at once


@dataclass(frozen=True)
class ProcessGroup:
    """This process among those that train together. Process 0 alone writes files and reports."""

    rank: int
    world: int
    device: str

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def sum(self, value: float) -> float:
        """The sum of a number over all processes, on each of them."""
        if self.world == 1:
            return value
        import torch

        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(total)
        return float(total)

    def agreed(self, value: Any) -> Any:
        """What process 0 has, on each of them."""
        if self.world == 1:
            return value
        import torch

        box = [value]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]


@contextmanager
def joined(device: str) -> Iterator[ProcessGroup]:
    """The group that the environment names, joined for the block. `device`: auto, cpu or cuda.

    SluiceError when there is no such device, or another process of the group was lost.
    """
    import torch

    cuda = torch.cuda.is_available()
    if device == "cuda" and not cuda:
        raise SluiceError("train.device is cuda, but torch finds no GPU here", remedy="set it to auto or cpu")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    place = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if cuda and device != "cpu" else "cpu"
    if place != "cpu":
        torch.cuda.set_device(place)
    if world == 1:
        yield ProcessGroup(0, 1, place)
        return
    torch.distributed.init_process_group("gloo" if place == "cpu" else "nccl", timeout=_PATIENCE)
    try:
        yield ProcessGroup(torch.distributed.get_rank(), world, place)
    finally:
        torch.distributed.destroy_process_group()


def whole(tensor: Any) -> Any:
    """A tensor of this process, put together from its shards where it is sharded; all processes must ask."""
    full = getattr(tensor, "full_tensor", None)
    return (full() if full else tensor).detach().cpu()


def fill(tensor: Any, content: Any) -> None:
    """Copies a whole tensor into one that may be sharded; `content` may be a whole tensor alone."""
    if hasattr(tensor, "full_tensor"):
        tensor.copy_(like(tensor, content))
    else:
        tensor.copy_(content)


def like(tensor: Any, content: Any) -> Any:
    """`content`, a whole tensor, sharded as `tensor` is; itself where that is whole too, or content is a number."""
    if not hasattr(tensor, "full_tensor") or content.dim() == 0:
        return content
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(content.to(tensor.device), tensor.device_mesh, tensor.placements)
