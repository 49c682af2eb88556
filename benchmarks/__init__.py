"""What is measured by hand: run each as `python -m benchmarks.<name>` from the root of the repository."""
