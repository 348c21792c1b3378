"""The pages in a real browser: Chromium, headless; skipped, and counted, where it is absent.

axe-core is looked for where ``npm install axe-core`` puts it, or at QREG_AXE.
"""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qreg.records.verdict import Outcome
from qreg.report.charts import Interval, interval_chart
from qreg.report.gate_page import gate_page
from qreg.report.history_page import history_page
from qreg.report.simple_page import Chart, simple_page
from qreg.upgrade.report.html_page import upgrade_html
from tests.unit.baselines import build
from tests.unit.history.test_history import nights, timed
from tests.unit.report import pages
from tests.unit.upgrade.report.test_report import UNSAFE

ROOT = Path(__file__).parents[3]
CREATED = "2026-11-25T00:00:00+00:00"
_AXE = Path(os.environ.get("QREG_AXE", ROOT / "node_modules" / "axe-core" / "axe.min.js"))
_PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
_DESKTOP = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not browser or not driver:
        pytest.skip("no chromium and chromedriver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield made
    made.quit()


def _gate() -> str:
    verdicts = [
        pages.verdict(), pages.verdict(method="dynamic", n=3), pages.verdict(Outcome.ERROR, n=0),
        pages.verdict(Outcome.NO_BASELINE, method="new", n=0),
        pages.verdict(Outcome.PASS, method="fp32"), pages.verdict(Outcome.PASS, model="other"),
    ]  # fmt: skip
    found = [(one, pages.detail(one)) for one in verdicts]
    return gate_page(found, created=CREATED, lines=("6 cases",))


def _hostile() -> str:
    name = pages.HOSTILE
    one = replace(
        pages.verdict(model=name, method=name), layer=name, notes=(name, pages.LONG), details=name
    )
    long = pages.verdict(model=pages.LONG, method=pages.LONG)
    found = [(one, pages.detail(one, name=name)), (long, pages.detail(long, name=pages.LONG))]
    return gate_page(found, created=CREATED, lines=(name,))


def _history() -> str:
    gate = {build.CASE: tuple(nights())}
    speed = {build.CASE: tuple(timed(day) for day in range(1, 21))}
    return history_page(gate, speed, created=CREATED)


def _upgrade() -> str:
    return upgrade_html(UNSAFE, created=CREATED)


def _intervals() -> str:
    found = [Interval(pages.HOSTILE, -1, 0.5, 2, "bad"), Interval("conv1", -3, -2, -1)]
    chart = Chart("change", interval_chart(found, unit="%", title="change"))
    return simple_page(
        title="speed", created=CREATED, tone="bad", headline="1 case regressed", charts=[chart]
    )


PAGES: dict[str, Callable[[], str]] = {
    "gate": _gate,
    "hostile": _hostile,
    "history": _history,
    "upgrade": _upgrade,
    "intervals": _intervals,
}


@pytest.fixture(params=PAGES, scope="module")
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages") / f"{request.param}.html"
    path.write_text(PAGES[request.param](), encoding="utf-8")
    return path


def _open(
    browser: Any, path: Path, *, size: dict[str, Any] | None = None, dark: bool = False
) -> None:
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size or _DESKTOP)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.get(path.as_uri())


def test_a_page_opens_without_an_error_and_asks_for_nothing(browser: Any, page: Path) -> None:
    _open(browser, page)
    assert browser.get_log("browser") == []
    asked = browser.execute_script(
        "return performance.getEntriesByType('resource').map(r => r.name)"
    )
    assert [one for one in asked if not one.startswith("data:")] == []


@pytest.mark.parametrize("size", [_DESKTOP, _PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_serious(
    browser: Any, page: Path, size: dict[str, Any], dark: bool
) -> None:
    if not _AXE.is_file():
        pytest.skip(f"no axe-core at {_AXE}: npm install axe-core")
    _open(browser, page, size=size, dark=dark)
    browser.execute_script(
        "for (const one of document.querySelectorAll('details')) one.open = true"
    )
    browser.execute_script(_AXE.read_text(encoding="utf-8"))
    found = browser.execute_async_script(
        "const done = arguments[0]; axe.run(document).then(r => done(r.violations))"
    )
    said = [
        (one["id"], one["impact"], [n["html"][:120] for n in one["nodes"][:3]]) for one in found
    ]
    assert [one for one in said if one[1] in ("serious", "critical")] == []


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_nothing_is_wider_than_the_window(browser: Any, page: Path, width: int) -> None:
    _open(browser, page, size={**_PHONE, "width": width})
    scroll, client = browser.execute_script(
        "const d = document.documentElement; return [d.scrollWidth, d.clientWidth]"
    )
    assert scroll <= client


def test_filters_show_what_fits(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    path = tmp_path / "gate.html"
    path.write_text(_gate(), encoding="utf-8")
    _open(browser, path)

    def shown(kind: str) -> list[str]:
        found = browser.find_elements(By.CSS_SELECTOR, f"{kind}[data-outcome]")
        return [one.get_attribute("data-method") for one in found if one.is_displayed()]

    def said() -> str:
        return str(browser.find_element(By.CSS_SELECTOR, ".filters output").text)

    assert len(shown("tr")) == 6
    assert said() == "6 of 6 cases shown"
    Select(browser.find_element(By.NAME, "outcome")).select_by_value("REGRESSED")
    assert shown("tr") == shown("article") == ["static", "dynamic"]
    Select(browser.find_element(By.NAME, "method")).select_by_value("dynamic")
    assert shown("article") == ["dynamic"]
    assert said() == "1 of 6 cases shown"
    browser.find_element(By.CSS_SELECTOR, ".filters button").click()
    browser.find_element(By.NAME, "text").send_keys("OTHER")
    assert len(shown("tr")) == 1
    assert shown("article") == []


def test_the_page_works_from_the_keyboard(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    path = tmp_path / "gate.html"
    path.write_text(_gate(), encoding="utf-8")
    _open(browser, path)
    reached = []
    for _ in range(12):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(
            browser.execute_script("return document.activeElement.outerHTML.slice(0, 60)")
        )
    assert "to the content" in reached[0]
    assert any('name="outcome"' in one for one in reached)
    assert any('href="#case-0"' in one for one in reached)
    ring = browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert ring == "solid"


def test_hostile_names_stay_text(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By

    path = tmp_path / "hostile.html"
    path.write_text(_hostile(), encoding="utf-8")
    _open(browser, path)
    assert len(browser.find_elements(By.TAG_NAME, "script")) == 1
    headings = [one.text for one in browser.find_elements(By.TAG_NAME, "h2")]
    said = " ".join(pages.HOSTILE.split())
    assert any(said in " ".join(one.split()) for one in headings)
    browser.execute_script("window.found = document.querySelectorAll('main b, main script').length")
    assert browser.execute_script("return window.found") == 0


def test_a_page_prints_without_its_controls(browser: Any, page: Path) -> None:
    _open(browser, page)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    shown = browser.execute_script(
        "return [...document.querySelectorAll('.filters, .skip')]"
        ".filter(one => getComputedStyle(one).display !== 'none').length"
    )
    assert shown == 0
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
