"""Take the screenshots of docs/: `python docs/screenshots.py PAGE NAME`, with Debian's chromium.

Writes docs/images/NAME-light.png, NAME-dark.png and NAME-phone.png, each below 200 KB.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).parent / "images"
#: Width and height of each, and whether it is dark. Chromium's windows are 500 wide at least.
SHOTS = {"light": (1200, 1480, False), "dark": (1200, 1480, True), "phone": (500, 1480, False)}
LARGEST = 200_000


def shot(page: Path, size: tuple[int, int], *, dark: bool) -> Image.Image:
    """A picture of the top of a page."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "shot.png"
        command = [
            shutil.which("chromium") or "chromium",
            "--headless=new",
            "--no-sandbox",
            "--hide-scrollbars",
            f"--user-data-dir={folder}/profile",
            *(["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if dark else []),
            f"--window-size={size[0]},{size[1]}",
            f"--screenshot={file}",
            page.resolve().as_uri(),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        return Image.open(io.BytesIO(file.read_bytes())).convert("RGB")


def main() -> None:
    """Take all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("name")
    args = parser.parse_args()
    page, name = args.page, args.name
    FOLDER.mkdir(exist_ok=True)
    for kind, (width, height, dark) in SHOTS.items():
        found = shot(page, (width, height), dark=dark)
        path = FOLDER / f"{name}-{kind}.png"
        for colours in (256, 128, 64, 32):
            found.quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)
            if path.stat().st_size < LARGEST:
                break
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
