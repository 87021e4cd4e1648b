"""Chromium, and what tests do with a page in it: point, click, and read what is shown.

Needs Chromium and its driver, as Debian's packages chromium and chromium-driver install them.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
BROWSER_TEST = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="no chromium and chromedriver; apt-get install -y chromium chromium-driver"
    ),
]
BEFORE = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1400,900")


@pytest.fixture(scope="module")
def driver() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in BEFORE:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield browser
    browser.quit()


@pytest.fixture
def opened(driver: webdriver.Chrome) -> Iterator[Callable[[Path], webdriver.Chrome]]:
    """Open a page and wait until it is drawn; afterwards there must be no console error, and no request."""
    pages: list[Path] = []
    for name in ("browser", "performance"):
        driver.get_log(name)  # of an earlier test

    def open_page(page: Path) -> webdriver.Chrome:
        pages.append(page)
        driver.get("about:blank")
        driver.get(page.as_uri())
        WebDriverWait(driver, 60).until(lambda _: driver.execute_script("return document.body.dataset.ready"))
        return driver

    yield open_page
    assert errors(driver) == []
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = [message["params"]["request"]["url"] for message in messages if message["method"].endswith("WillBeSent")]
    asked = {url for url in urls if not url.startswith(("data:", "blob:"))}
    assert asked == {page.as_uri() for page in pages}


def errors(driver: webdriver.Chrome) -> list[str]:
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] != "INFO"]


def point(driver: webdriver.Chrome, plot: str, x: float, y: float, *, click: bool = False) -> str:
    """Point, or click, at a place of a figure, given in the units of its axes; the text that appears there."""
    place = driver.find_element(By.CSS_SELECTOR, plot)
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", place)
    left, top = driver.execute_script(
        "const [place, x, y] = arguments, box = place.getBoundingClientRect(), {xaxis, yaxis} = place._fullLayout;"
        "return [box.left + xaxis._offset + xaxis.d2p(x), box.top + yaxis._offset + yaxis.d2p(y)]",
        place, float(x), float(y),
    )  # fmt: skip
    at = {"x": left, "y": top}
    # What was pointed at before has to be forgotten first: its text would be read, and its place be clicked at.
    driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": 1, "y": 1})
    WebDriverWait(driver, 10).until(lambda _: not place.find_elements(By.CSS_SELECTOR, ".hovertext"))
    for shift in (1.5, 0):  # the mouse has to move
        driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": left + shift, "y": top})
    WebDriverWait(driver, 10).until(lambda _: place.find_elements(By.CSS_SELECTOR, ".hovertext"))
    text = place.find_element(By.CSS_SELECTOR, ".hovertext").text.replace("−", "-")
    for kind in ("mousePressed", "mouseReleased") if click else ():
        driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": kind, **at, "button": "left", "clickCount": 1})
    return text


def profile(driver: webdriver.Chrome) -> list[float]:
    return driver.execute_script("return document.querySelector('[data-plot=profile]').data.at(-1).y")


def visible(driver: webdriver.Chrome, table: str) -> list[list[str]]:
    rows = driver.find_elements(By.CSS_SELECTOR, f"#{table} tbody tr")
    return [[cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for row in rows if row.is_displayed()]
