"""``qreg audit``: one file an audit."""
