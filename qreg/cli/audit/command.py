"""``qreg audit``: what could go wrong with a quantized model, elsewhere or with other samples."""

from __future__ import annotations

import argparse

from qreg.cli.audit import calibration, saturation


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], what: str) -> None:
    """Add the command with its audits."""
    parser = subparsers.add_parser("audit", help=what)
    audits = parser.add_subparsers(title="audits", metavar="AUDIT", required=True)
    for audit in (saturation, calibration):
        audit.add_parser(audits)
