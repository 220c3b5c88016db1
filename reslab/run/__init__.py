"""A command line becomes a checked, frozen config: what settings are, and how they are read. No torch."""
