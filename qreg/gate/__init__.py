"""The gate: from a case to its verdict, and the run of all cases."""
