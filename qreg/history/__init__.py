"""The history of verdicts, scores and sizes, next to that of speed."""
