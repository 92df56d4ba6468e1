"""What a hop costs: `python -m benchmarks` measures it and writes `docs/benchmarks.md`."""
