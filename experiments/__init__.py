"""One folder for each experiment: its question and config, its result, and the table made from that."""
