"""How close to the hardware's peak a training step runs (MFU)."""

import re

from reslab.nn.flops import flops_per_token

# Dense peak of 16-bit tensor units with 32-bit sums, in TFLOP/s, from the makers' data sheets; the whole of
# torch's device name must match. A part, a laptop's version or an unknown name has no entry, and no number.
PEAKS = {
    r"NVIDIA (GB200|B200).*": 2250.0,
    r"NVIDIA H200( NVL)?": 989.0,
    r"NVIDIA H100 80GB HBM3": 989.0,
    r"NVIDIA H100 NVL": 835.0,
    r"NVIDIA H100 PCIe": 756.0,
    r"NVIDIA A100-.*GB": 312.0,
    r"NVIDIA L40S": 362.0,
    r"NVIDIA L4": 121.0,
    r"NVIDIA GeForce RTX 4090": 165.0,
    r"NVIDIA GeForce RTX 3090": 71.0,
    r"Tesla V100-.*": 125.0,
    r"Tesla T4": 65.0,
}


def peak(device_name: str) -> float | None:
    """FLOP/s that a device can reach in half precision, or None where it is not known."""
    tera = next((peak for name, peak in PEAKS.items() if re.fullmatch(name, device_name)), None)
    return tera and tera * 1e12


def utilization(token_flops: int, tokens_per_s: float, device_name: str) -> float | None:
    """Model FLOPs utilization (MFU), a share of the peak; None for an unknown device."""
    most = peak(device_name)
    return round(token_flops * tokens_per_s / most, 4) if most else None


def meter(model, device: str, ranks: int = 1):
    """tokens per second of all ranks -> MFU, on GPUs; None on a CPU, whose peak nobody states."""
    if not device.startswith("cuda"):
        return None
    import torch

    name, work = torch.cuda.get_device_name(device), flops_per_token(model.config)
    return lambda tokens_per_s: utilization(work, tokens_per_s / ranks, name)
