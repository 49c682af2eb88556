"""What vLLM's worker says of its memory, in the process that has the GPU: vLLM's `worker_extension_cls`."""

from __future__ import annotations

from typing import Any

EXTENSION = f"{__name__}.Measured"


class Measured:
    """Mixed into vLLM's worker class."""

    cache_config: Any

    def measured_kv_cache_bytes(self) -> int:
        """The KV cache's size as vLLM measured it, or, where it measures nothing (on a CPU), as it was set."""
        return int(getattr(self, "available_kv_cache_memory_bytes", 0) or self.cache_config.kv_cache_memory_bytes)
