"""Speed and memory, measured beside what else is installed."""
