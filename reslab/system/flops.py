"""How much arithmetic a training step is, and how close to the hardware's peak it runs."""

import re

import torch
from torch import nn

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


def per_token(model) -> int:
    """FLOPs of training on one token: 6 N + 12 L C T.

    N counts the weights of linear layers and the head, each used in one multiplication and addition on the
    way forward and two in the backward pass; the scores of attention and their use are counted whole, without
    what causality saves (Chowdhery et al. 2022, PaLM, arXiv 2204.02311, appendix B).
    """
    config = model.config
    inside = sum(m.weight.numel() for m in model.blocks.modules() if isinstance(m, nn.Linear))
    weights = inside + model.head_weight.numel()
    return 6 * weights + 12 * config.n_layer * config.n_embd * config.block_size


def peak(device_name: str) -> float | None:
    """FLOP/s that a device can reach in half precision, or None where it is not known."""
    found = [peak for name, peak in PEAKS.items() if re.fullmatch(name, device_name)]
    return found[0] * 1e12 if found else None


def utilization(flops_per_token: int, tokens_per_s: float, device_name: str) -> float | None:
    """Model FLOPs utilization (MFU), a share of the peak; None for an unknown device."""
    most = peak(device_name)
    return round(flops_per_token * tokens_per_s / most, 4) if most else None


def meter(model, device: str, ranks: int = 1):
    """tokens per second of all ranks -> MFU, on GPUs; None on a CPU, whose peak nobody states."""
    if not device.startswith("cuda"):
        return None
    name, work = torch.cuda.get_device_name(device), per_token(model)
    return lambda tokens_per_s: utilization(work, tokens_per_s / ranks, name)
