"""The instruments of the residual laboratory."""
