"""What bench.py measures, and how: see its docstring."""
