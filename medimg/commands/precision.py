"""``trainer.precision: auto``: the fastest precision that the device computes with."""

from typing import Any

import torch


def resolve_precision(precision: Any, accelerator: str) -> Any:
    """Turn ``auto`` into a precision that Lightning knows.

    Args:
        precision: Value of ``trainer.precision``; anything but ``"auto"`` is returned as it is.
        accelerator: Value of ``trainer.accelerator``.

    Returns:
        ``"bf16-mixed"`` where bfloat16 is computed in hardware, else ``"32-true"``.

    Example:
        >>> resolve_precision("64-true", "cpu")
        '64-true'
    """
    if precision != "auto":
        return precision
    if accelerator != "cpu" and torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = cpu_has_bf16()
    return "bf16-mixed" if fast else "32-true"


def cpu_has_bf16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware; emulated it is slower than float32."""
    # torch 2.11 has no public list of the processor's capabilities yet.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)
