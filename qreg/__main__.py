"""``python -m qreg``, and the program ``qreg``."""

import signal
import sys


def main() -> int:
    """Run a command; until it handles signals itself, they end the program without a traceback."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from qreg.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
