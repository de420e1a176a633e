"""The machine that a benchmark ran on."""

import os
import platform
from pathlib import Path

import torch


def memory_bytes(device: torch.device) -> int:
    """Memory of a GPU, or of the machine."""
    if device.type == 'cuda':
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')


def describe(device: torch.device) -> dict:
    """What the figures depend on: device, threads, versions, modes."""
    machine = dict(
        device=_cpu_name(),
        threads=torch.get_num_threads(),
        memory_gib=round(memory_bytes(device) / 2**30, 1),
        system=platform.platform(),
        python=platform.python_version(),
        torch=torch.__version__,
    )
    if device.type == 'cuda':
        machine.update(
            device=torch.cuda.get_device_name(device),
            host=_cpu_name(),
            cuda=torch.version.cuda,
            cudnn=torch.backends.cudnn.version(),
            cudnn_benchmark=torch.backends.cudnn.benchmark,
            fp32_convolutions=torch.backends.cudnn.conv.fp32_precision,
            fp32_matrix_products=torch.backends.cuda.matmul.fp32_precision,
        )
    return machine


def _cpu_name() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        lines = []
    names = (line.split(':', 1)[1].strip() for line in lines if line.startswith('model name'))
    return next(names, platform.processor() or platform.machine())
