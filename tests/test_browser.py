"""The built pages as a reader sees them, in a real browser: headless Chromium, or Chrome."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

ROOT = Path(__file__).resolve().parent.parent
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf8"))
CHAPTERS = [TOC["root"]] + [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]
PAGES = [*CHAPTERS, "genindex", "search", "_modules/index"]

PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
LAPTOP = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}

# Without the network flags Chromium calls home at every start.
FLAGS = [
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

TYPESET = """
const done = arguments[0];
if (!document.querySelector('.math')) { done(true); }
else if (!window.MathJax?.startup?.promise) { done(false); }
else { MathJax.startup.promise.then(() => done(true), () => done(false)); }
"""

# Formulas that MathJax left alone, formulas it choked on, and the page's text without formulas and code.
FORMULAS = """
const main = document.querySelector('article').cloneNode(true);
const math = [...main.querySelectorAll('span.math, div.math')];
const unset = math.filter(m => !m.querySelector('mjx-container')).map(m => m.textContent);
const unknown = [...main.querySelectorAll('mjx-assistive-mml mtext')].filter(m => m.textContent.startsWith('\\\\'));
const wrong = [...main.querySelectorAll('mjx-merror'), ...unknown].map(m => m.textContent);
main.querySelectorAll('mjx-container, pre, code, script, style').forEach(e => e.remove());
return {formulas: math.length, unset, wrong, text: main.textContent};
"""

TEX = re.compile(r"\\[()\[\]]|\$[^$\n]+\$|\\(?:frac|sum|mathcal|begin)\b")

BROKEN_IMAGES = "return [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"

# What sticks out to the right of the screen and is not inside a box that scrolls by itself.
OVERFLOW = """
const width = document.documentElement.clientWidth, out = [];
const scrolls = e => ['auto', 'scroll', 'hidden', 'clip'].includes(getComputedStyle(e).overflowX);
for (const e of document.querySelectorAll('.bd-article-container *')) {
  const box = e.getBoundingClientRect();
  if (box.width === 0 || box.right <= width + 1 || e.closest('mjx-assistive-mml')) continue;
  let up = e.parentElement;
  while (up.tagName !== 'MAIN' && !scrolls(up)) up = up.parentElement;
  if (up.tagName === 'MAIN' || up.matches('.bd-article-container, .bd-content, article')) {
    out.push(e.tagName + '.' + e.className + ' reaches ' + Math.round(box.right) + ' px');
  }
}
return {page: document.documentElement.scrollWidth, width, out: out.slice(0, 5)};
"""

BRIGHTNESS = """
const rgb = getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g).map(Number);
return 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2];
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None: ...


def find_browser() -> tuple[str, str]:
    """Paths of the browser and its driver; without them the tests are skipped, or fail where CI is set."""
    names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
    browser = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    if browser and driver:
        return browser, driver
    reason = f"the built pages are not tested: no {'chromedriver' if browser else 'Chromium or Chrome'} found"
    return pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """The site, served from this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    browser, driver = find_browser()
    options = Options()
    options.binary_location = browser
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"]:
        options.add_argument(flag)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    started.set_page_load_timeout(60)
    started.set_script_timeout(60)
    yield started
    started.quit()


def show(chrome: webdriver.Chrome, url: str, screen: dict[str, object]) -> None:
    """Open a page on a screen and wait until its formulas are set; forget what was logged before."""
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    for kind in ("browser", "performance"):
        chrome.get_log(kind)
    chrome.get(url)
    assert chrome.execute_async_script(TYPESET), "MathJax did not start"


def requested(chrome: webdriver.Chrome) -> list[str]:
    """Addresses that the page has asked the network for."""
    events = [json.loads(entry["message"])["message"] for entry in chrome.get_log("performance")]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_whole(chrome, address, page):
    """On a laptop: no errors, nothing fetched from elsewhere, every formula typeset, every image there."""
    show(chrome, f"{address}/{page}.html", LAPTOP)

    errors = [entry["message"] for entry in chrome.get_log("browser") if entry["level"] == "SEVERE"]
    urls = requested(chrome)
    assert f"{address}/{page}.html" in urls
    web = [url for url in urls if urlsplit(url).scheme in ("http", "https")]
    formulas = chrome.execute_script(FORMULAS) if page in CHAPTERS else {"unset": [], "wrong": [], "text": ""}
    found = {
        "errors on the console": errors,
        "fetched from another host": [url for url in web if not url.startswith(f"{address}/")],
        "formulas not typeset": formulas["unset"],
        "formulas in error": formulas["wrong"],
        "formulas left as source": TEX.findall(formulas["text"]),
        "images missing": chrome.execute_script(BROKEN_IMAGES),
    }
    assert {what: where for what, where in found.items() if where} == {}


def test_the_formulas_are_there_to_be_checked(chrome, address):
    show(chrome, f"{address}/notation.html", LAPTOP)
    assert chrome.execute_script(FORMULAS)["formulas"] > 20


@pytest.mark.parametrize("page", PAGES)
def test_a_page_fits_a_phone(chrome, address, page):
    """At 390 px: nothing wider than the screen, but for tables, formulas and code that scroll by themselves."""
    show(chrome, f"{address}/{page}.html", PHONE)
    found = chrome.execute_script(OVERFLOW)
    assert found["width"] == PHONE["width"]
    assert found["page"] <= PHONE["width"], found
    assert found["out"] == []


@pytest.mark.parametrize("page", ["index", "01_free_riding"])
def test_dark_mode_can_be_chosen(chrome, address, page):
    show(chrome, f"{address}/{page}.html", LAPTOP)
    seen = {}
    for _ in range(3):  # the button goes round light, dark and "as the system has it"
        chrome.find_element(By.CSS_SELECTOR, ".theme-switch-button").click()
        mode = chrome.execute_script("return document.documentElement.dataset.mode")
        seen[mode] = chrome.execute_script(BRIGHTNESS)
    assert set(seen) == {"light", "dark", "auto"}
    assert seen["light"] > 200
    assert seen["dark"] < 60


def test_the_search_finds_a_page(chrome, address):
    show(chrome, f"{address}/search.html?q=Shapley", LAPTOP)
    chrome.implicitly_wait(20)
    assert chrome.find_elements(By.CSS_SELECTOR, "ul.search li a")
    chrome.implicitly_wait(0)
