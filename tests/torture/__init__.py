"""Faults by the hundred: `python -m tests.torture` prints what was done to the programs and what held."""
