"""The reports of `qreg upgrade`: terminal, Markdown, HTML, JSON."""
