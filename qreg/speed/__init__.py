"""Paired timing of two sides in fresh processes, its history and its calibration."""
