"""Statistics and judgements: pure functions, no torch, no files, no clock, no print."""
