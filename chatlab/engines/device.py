"""To put something on a device, or to say which devices there are."""

from __future__ import annotations

from typing import Any

import torch

from chatlab.errors import EngineError


def on_device(thing: Any, device: str | torch.device) -> Any:
    """A model or tensor, moved.

    >>> on_device(torch.ones(1), "cpu").device.type
    'cpu'

    Raises:
        EngineError: there is no such device here, or no room on it.
    """
    try:
        return thing.to(device)
    except Exception as error:  # torch raises AssertionError, RuntimeError, NotImplementedError, TypeError…
        has = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.mps.is_available()}
        words = str(error).partition("\n")[0]
        raise EngineError(
            f"the model cannot be put on device {str(device)!r} ({type(error).__name__}: {words}): torch finds "
            f"{', '.join(name for name, here in has.items() if here)} on this machine"
        ) from error


def gpu_memory() -> list[dict[str, Any]]:
    """Name, total and free bytes of each GPU that torch sees here."""
    found = []
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        found.append({"name": torch.cuda.get_device_name(number), "total": total, "free": free})
    return found
