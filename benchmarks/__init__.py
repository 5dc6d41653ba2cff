"""Measurements of speed and memory: `python -m benchmarks [--quick] [names...]`, or `make bench` for all of them.

Each module has `measure(quick) -> dict`, whose JSON is kept in `benchmarks/results`, and `rows(result)`, its table."""
