"""What trains a model: one step, the loop around it, and grids of runs."""
