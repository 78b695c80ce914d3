"""What memory the machine has."""

from pathlib import Path


def free_memory() -> int | None:
    """Bytes that can be had without swapping, as Linux tells them; None where it is not Linux."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    values = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return values[0] if values else None
