"""The nightly history of speed and its change points."""
