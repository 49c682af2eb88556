"""Pure scoring functions: (completion, example) -> float in [0, 1]. The lowest layer: it imports no other of ours."""
