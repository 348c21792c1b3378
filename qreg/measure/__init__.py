"""Measuring cases: what is measured, how, and in which environment."""
