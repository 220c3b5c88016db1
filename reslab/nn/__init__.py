"""The parts of the model that are no wiring: attention, layers, starting weights, loss, generation."""
