"""Tests on a real Ray cluster of this machine; skipped, and counted, where Ray is not installed."""
