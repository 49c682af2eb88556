"""Pure scoring functions: (completion, example) -> float in [0, 1]. The lowest layer; imports nothing of ours above it."""
