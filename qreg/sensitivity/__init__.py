"""Which sites do the damage, and the fewest layers to leave in float."""
