"""The faults that can be planted, one family a file."""
