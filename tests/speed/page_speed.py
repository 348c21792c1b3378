"""How long a page of many cases takes to write and to open, and what it adds to a run of the gate.

python tests/speed/page_speed.py                     the page of 200 regressed cases
python tests/speed/page_speed.py --gate --rounds 3   the gate with and without, interleaved
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from qreg.report.gate_page import gate_page
from tests.unit.report import pages

ROOT = Path(__file__).parents[2]


def many(count: int) -> str:
    """A page of regressed cases, each with twelve pictures that no format makes small."""
    found = []
    for number in range(count):
        one = pages.verdict(method=f"method{number}")
        full = pages.detail(one, layers=60)
        samples = tuple(replace(s, views=(pages.picture(number),)) for s in full.samples)
        found.append((one, replace(full, samples=samples)))
    start = time.perf_counter()
    text = gate_page(found, created="2026-11-25T00:00:00+00:00")
    print(f"{count} regressed cases: {time.perf_counter() - start:.2f} s", end=", ")
    print(f"{len(text.encode()) / 1e6:.2f} MB")
    return text


def opened(text: str) -> None:
    """Print how long Chromium takes from navigation to the end of loading, best of five."""
    try:
        from selenium import webdriver
    except ImportError:
        print("not opened: pip install selenium")
        return
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not browser or not driver:
        print("not opened: apt-get install chromium chromium-driver")
        return
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--no-sandbox"):
        options.add_argument(argument)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        path.write_text(text, encoding="utf-8")
        made = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        times = []
        for _ in range(5):
            made.get(path.as_uri())
            times.append(
                made.execute_script("return performance.getEntriesByType('navigation')[0].duration")
            )
        made.quit()
    print(f"opened in {min(times):.0f} ms (of {', '.join(f'{one:.0f}' for one in times)})")


def gate(rounds: int) -> None:
    """Print the ratio of a gate's time with a page to that without, for cases that pass."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "regression", "-p", "no:cacheprovider"]
    command += ["--qreg-dataset=shapes10", "--qreg-model=simple_cnn", "--qreg-jobs=1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ratios = []
    for number in range(rounds):
        seconds = {}
        with tempfile.TemporaryDirectory() as folder:
            both = {"without": [], "with": [f"--qreg-report={folder}"]}
            for name in sorted(both, reverse=bool(number % 2)):
                start = os.times()
                subprocess.run(
                    [*command, *both[name]], cwd=ROOT, env=environment, capture_output=True
                )
                end = os.times()
                seconds[name] = sum(end[2:4]) - sum(start[2:4])
        ratios.append(seconds["with"] / seconds["without"])
        print(
            f"round {number + 1}: without {seconds['without']:.1f} s, with "
            f"{seconds['with']:.1f} s of processor time: {ratios[-1]:.3f} times"
        )


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--gate", action="store_true")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    if args.gate:
        gate(args.rounds)
    else:
        opened(many(args.count))


if __name__ == "__main__":
    main()
