"""``python -m qreg``."""

import sys

from qreg.cli import main

sys.exit(main())
