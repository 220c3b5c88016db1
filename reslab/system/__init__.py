"""The machine: device, memory, several processes, measuring its work."""
