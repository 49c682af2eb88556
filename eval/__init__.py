"""Generate, score, compare. Write `from eval.runner import evaluate`; a bare `import eval` would shadow the builtin."""
