"""The page in a real Chromium: every part is clicked, nothing complains, nothing is fetched, nothing planted runs."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from page_toys import data_of, hostile_rows, report

from toy_runs import run_of, s2l, write_jsonl

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="THE PAGE WAS NOT TRIED IN A BROWSER: playwright is missing (pip install playwright)"
)
NO_BROWSER = (
    "THE PAGE WAS NOT TRIED IN A BROWSER: no Chromium (apt-get install chromium, or playwright install chromium)"
)
WIDTHS = {"desktop": 1280, "narrow": 360}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, or playwright's own."""
    with sync_api.sync_playwright() as playwright:
        found = shutil.which("chromium") or shutil.which("chromium-browser") or playwright.chromium.executable_path
        if not Path(found).is_file():
            pytest.skip(NO_BROWSER)
        # Chromium's own sandbox does not start for root, as whom containers run.
        sandbox = [] if os.geteuid() else ["--no-sandbox"]
        browser = playwright.chromium.launch(executable_path=found, args=sandbox)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over rows that mean harm, with methods compared and theory measured."""
    folder = tmp_path_factory.mktemp("browser")
    pool = write_jsonl(folder / "po<b>ol & 'x'.jsonl", hostile_rows())
    for words in (
        ("compare", folder / "run", "--budget", "20", "--methods", "s2l,random"),
        ("verify", folder / "run", "--rows", "40", "--draws", "2", "--checkpoints", "1", "--dimensions", "64"),
    ):
        if words[0] == "compare":
            assert run_of(pool, folder / "run", "--source-column", "source", "--with-random", budget="20").code == 0
        assert s2l(*words).code == 0
    return folder / "run"


class Opened:
    """A page in the browser, and all that it said and asked for."""

    def __init__(self, browser: Any, path: Path, **how: Any) -> None:
        self.context = browser.new_context(**how)
        self.page = self.context.new_page()
        self.page.set_default_timeout(10_000)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: self.said.append(f"dialog: {dialog.message}"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.resolve().as_uri())

    def close(self) -> None:
        """Nothing was said, only the file was asked for, nothing planted ran, nothing is wider than the window."""
        assert self.page.evaluate("window.planted") is None
        assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert self.said == []
        assert [url for url in self.asked if "#" not in url] == self.asked[:1]
        assert self.asked[0].startswith("file://")
        self.context.close()


@pytest.mark.parametrize("window", WIDTHS)
def test_every_part_of_a_hostile_page_can_be_used(browser: Any, hostile_run: Path, window: str) -> None:
    chosen = data_of(report(hostile_run))["plane"]["chosen"]
    opened = Opened(browser, hostile_run / "report.html", viewport={"width": WIDTHS[window], "height": 800})
    page = opened.page
    for link in page.locator("nav a").all():
        link.click()
    page.check("#logarithmic")
    page.uncheck("#logarithmic")
    for value in ("number", "rows", "share", "first", "last", "fall", "spread"):
        page.select_option("#cards-sort", value)
    page.click("#cards-more")
    cards = page.locator("#cards .card")
    everything = cards.count()
    page.fill("#cards-search", "0")
    assert cards.count() == 1
    page.fill("#cards-search", "<script>")
    assert 0 < cards.count() <= everything
    page.fill("#cards-search", "there is none such")
    assert cards.count() == 0
    page.fill("#cards-search", "")
    cards.nth(2).click()
    assert cards.nth(2).get_attribute("aria-pressed") == "true"
    assert "rows" in page.inner_text("#curves-readout")

    page.focus("#curves-plot")
    for key in ("ArrowUp", "ArrowUp", "ArrowDown", "Escape"):
        page.keyboard.press(key)
    page.keyboard.press("ArrowUp")
    assert "cluster 0" in page.get_attribute("#curves-plot", "aria-valuetext")
    page.hover("#curves-plot svg")
    for value in ("group", "source", "loss", "chosen"):
        page.select_option("#map-colour", value)
    for value, points in (("chosen", 20), ("others", len(chosen) - 20), ("all", len(chosen))):
        page.select_option("#map-show", value)
        assert page.locator("#map-plane circle").count() == points
    page.locator("#map-cartography circle").last.hover()
    assert "loss at the end" in page.inner_text("#tip")
    page.locator("#map-cartography circle").last.click()
    for heading in page.locator("thead button").all():
        if heading.is_visible():
            heading.click()
    page.click("#examples-after")
    page.click("#examples-before")
    for option in page.locator("#examples-group option").all()[:5]:
        page.select_option("#examples-group", option.get_attribute("value"))
        assert page.locator("#examples-rows .row").count() > 0
    for details in page.locator("#examples-lists summary").all():
        details.click()
    assert page.locator("#examples-lists .row").count() > 20
    assert "<script>" in page.inner_text("#examples-lists")
    assert page.locator("main img, main script, main iframe").count() == 0
    opened.close()


@pytest.mark.parametrize("how", [{"color_scheme": "dark"}, {"forced_colors": "active"}, {"reduced_motion": "reduce"}])
def test_other_ways_to_see_the_page(browser: Any, own_run: Path, how: dict[str, str]) -> None:
    report(own_run)
    opened = Opened(browser, own_run / "report.html", **how)
    opened.page.emulate_media(media="print")
    opened.close()


@pytest.mark.parametrize("words", [("--no-examples",), ("--subset", "random-11pct"), ("--subset", "s2l-9-clusters-1")])
def test_empty_states_are_drawn_without_a_complaint(browser: Any, own_run: Path, words: tuple[str, ...]) -> None:
    assert s2l("select", own_run, "--budget", "9", "--set", "clusters=1").code == 0
    report(own_run, *words)
    opened = Opened(browser, own_run / "report.html")
    opened.page.locator("#cards .card").first.click()
    assert opened.page.locator("#map-plane circle").count() == 148
    opened.close()


def test_a_run_without_a_subset_is_drawn_without_a_complaint(browser: Any, own_run: Path) -> None:
    (own_run / "manifest.json").unlink()
    shutil.rmtree(own_run / "subsets")
    report(own_run)
    opened = Opened(browser, own_run / "report.html")
    assert "none chosen yet" in opened.page.inner_text("h1")
    assert "none chosen yet" in opened.page.locator("#cards .card").first.inner_text()
    opened.close()


def test_the_page_lets_no_other_code_run_and_asks_nobody(browser: Any, own_run: Path) -> None:
    report(own_run)
    page = Opened(browser, own_run / "report.html").page
    tried = page.evaluate(
        """async () => {
            const tried = {};
            const attempt = async (name, act) => {
                try { await act(); tried[name] = "done"; } catch (error) { tried[name] = "refused"; }
            };
            await attempt("fetch", () => fetch("https://example.invalid/"));
            await attempt("markup", () => { document.body.innerHTML += "<img src=x onerror='window.planted=1'>"; });
            await attempt("script", () => {
                const script = document.createElement("script");
                script.textContent = "window.planted = 2";
                document.body.append(script);
            });
            await attempt("handler", () => document.body.setAttribute("onclick", "window.planted = 3"));
            document.body.click();
            return tried;
        }"""
    )
    assert tried["fetch"] == tried["markup"] == tried["script"] == "refused"
    assert page.evaluate("window.planted") is None
