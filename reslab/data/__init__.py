"""From text to token files, and from those to batches."""
