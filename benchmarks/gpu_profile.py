"""Where a training step's time goes on a GPU: milliseconds by kind of kernel."""

from __future__ import annotations

import re
import time
from typing import Any

# The first that fits counts: the names of attention kernels have those of matrix products in them.
KINDS = (
    ("attention", r"flash|fmha|attention|cudnn"),
    ("matrix products", r"gemm|cutlass|nvjet|cublas|xmma|addmm|bgemm|wgmma"),
    ("optimizer, clipping", r"multi_tensor|fused_adam|adam|lpnorm|foreach"),
    ("fused pointwise (triton)", r"triton"),
    ("copies, memset", r"memcpy|memset|copy_kernel"),
    ("reductions, softmax", r"reduce|softmax|logsumexp|norm"),
    ("pointwise", r"elementwise|vectorized|unrolled|CatArray|index|scatter|gather|embedding|sort|radix"),
)


def profile_step(trainer: Any, steps: int = 2) -> dict[str, Any]:
    """Profile some forward and backward passes and optimizer steps of a trainer that has trained.

    Gives milliseconds a pass: `wall`, `gpu` (the kernels' sum) and by kind; and the ten longest kernels.
    """
    import torch
    from torch.profiler import ProfilerActivity, profile

    model = trainer.model_wrapped
    model.train()
    batches = iter(trainer.get_train_dataloader())
    held = [next(batches) for _ in range(steps + 1)]

    def step(batch: Any) -> None:
        count = (batch["labels"][:, 1:] != -100).sum()
        trainer.training_step(model, dict(batch), count)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()

    step(held[0])
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as recorded:
        started = time.perf_counter()
        for batch in held[1:]:
            step(batch)
        torch.cuda.synchronize()
        wall = (time.perf_counter() - started) * 1000 / steps
    times: dict[str, float] = {}
    for event in recorded.key_averages():
        if event.device_type == torch.autograd.DeviceType.CUDA and event.self_device_time_total > 0:
            times[event.key] = times.get(event.key, 0.0) + event.self_device_time_total / 1000 / steps
    kinds: dict[str, float] = {}
    for name, milliseconds in times.items():
        kind = next((kind for kind, pattern in KINDS if re.search(pattern, name, re.IGNORECASE)), "other")
        kinds[kind] = kinds.get(kind, 0.0) + milliseconds
    longest = sorted(times.items(), key=lambda item: -item[1])[:10]
    return {
        "wall": round(wall, 1),
        "gpu": round(sum(times.values()), 1),
        "tokens": int(held[1]["labels"].numel()),
        "kinds": {kind: round(value, 1) for kind, value in sorted(kinds.items(), key=lambda item: -item[1])},
        "longest": [(name[:100], round(value, 2)) for name, value in longest],
    }
