"""What a machine is, as far as it can change numbers: its processor and the versions of what computes."""

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_SETTINGS = (
    *("ATEN_CPU_CAPABILITY", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE", "CUBLAS_WORKSPACE_CONFIG"),
    *("DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA", "DNNL_DEFAULT_FPMATH_MODE", "ONEDNN_DEFAULT_FPMATH_MODE"),
    *("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "TORCH_BLAS_PREFER_CUBLASLT"),
)


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the version of Python, and of each of the packages that is installed or `not installed`."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def processor() -> str:
    """Return the name of the processor."""
    names = _cpuinfo("model name")
    return names[0] if names else platform.processor() or platform.machine()


def instructions() -> str:
    """Return what vector instructions the processor has: libraries choose other kernels by them."""
    flags = _cpuinfo("flags") or _cpuinfo("Features")
    kinds = ("avx", "amx", "sse", "fma", "f16c", "asimd", "sve")
    return " ".join(sorted(flag for flag in flags[0].split() if flag.startswith(kinds))) if flags else "unknown"


def _cpuinfo(key: str) -> list[str]:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return [value.strip() for name, _, value in (line.partition(":") for line in lines) if name.strip() == key]


def settings() -> dict[str, str]:
    """Return the environment variables that are set and choose kernels or their precision."""
    return {name: os.environ[name] for name in _SETTINGS if name in os.environ}
