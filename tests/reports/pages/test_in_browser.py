"""Pages in a real browser: clicks, filters, hovers and sliders, numbers against the Parquet tables, nothing loaded."""

import os
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from start_training.reports.pages.report import write_report
from start_training.runs.read_lengths import read_lengths
from tests.reports.pages.browser import BROWSER_TEST, errors, point, profile, visible
from tests.reports.pages.made_runs import STRANGE, leave_job, leave_study, leave_sweep

pytestmark = BROWSER_TEST


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    run = leave_job(tmp_path_factory.mktemp("made"), "run", layers=8, steps=30)
    write_report(run)
    return run


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Path:
    sweep = leave_sweep(tmp_path_factory.mktemp("made") / "sweep", rates=3, decays=2, seeds=2)
    write_report(sweep)
    return sweep


def test_a_run_hover_slider_keyboard_and_click_agree_with_its_tables(opened, run):
    driver, logs = opened(run / "report.html"), np.log(read_lengths(run, matrix="mean"))
    text = point(driver, "[data-plot=heat]", 17, 3)
    assert "layer 3: hidden.2" in text and "step 17" in text
    assert float(re.search(r"length (-?[\d.]+)", text)[1]) == pytest.approx(logs.iloc[3, 17], abs=1e-4)
    assert np.allclose(profile(driver), logs.iloc[:, 0], atol=1e-4)
    driver.find_element(By.CSS_SELECTOR, ".step").send_keys(Keys.ARROW_RIGHT * 5)
    assert driver.find_element(By.CSS_SELECTOR, ".at").text == "step 5"
    assert np.allclose(profile(driver), logs.iloc[:, 5], atol=1e-4)
    point(driver, "[data-plot=heat]", 22, 4, click=True)
    WebDriverWait(driver, 10).until(lambda _: driver.find_element(By.CSS_SELECTOR, ".at").text == "step 22")
    assert np.allclose(profile(driver), logs.iloc[:, 22], atol=1e-4)
    rows = pd.read_csv(run / "metrics.csv")
    text = point(driver, "[data-plot=training]", rows["step"][4], rows["val/loss"][4])
    assert f"step {rows['step'][4]}" in text and "loss" in text
    steps = pd.read_parquet(run / "steps")
    text = point(driver, "[data-plot=growth]", 12, steps["growth_rate"][12])
    assert float(re.search(r"rate (-?[\d.]+)", text)[1]) == pytest.approx(steps["growth_rate"][12], rel=1e-3)


def test_a_sweep_is_filtered_sorted_coloured_and_opened(opened, sweep):
    driver = opened(sweep / "report.html")
    assert len(visible(driver, "jobs")) == 13 and len(visible(driver, "means")) == 6
    Select(driver.find_element(By.CSS_SELECTOR, "[data-setting='optimizer.lr']")).select_by_visible_text("0.1")
    jobs = visible(driver, "jobs")
    assert [row[0] for row in jobs] == ["job_1_0_0", "job_1_0_1", "job_1_1_0", "job_1_1_1"]
    assert driver.find_element(By.ID, "shown").text == "4" and len(visible(driver, "means")) == 2
    traces = driver.execute_script("return document.getElementById('curves').data")
    losses = pd.concat(pd.read_csv(sweep / row[0] / "metrics.csv")["val/loss"] for row in jobs)
    assert np.allclose([y for trace in traces for y in trace["y"] if y is not None], losses, rtol=1e-4)
    Select(driver.find_element(By.ID, "mode")).select_by_value("means")
    Select(driver.find_element(By.ID, "colour")).select_by_visible_text("optimizer.weight_decay")
    traces = driver.execute_script("return document.getElementById('curves').data")
    assert [trace["name"] for trace in traces] == ["optimizer.weight_decay = 0", "optimizer.weight_decay = 0.1"]
    of_seeds = losses.groupby(level=0)  # of both weight decays, which differ in nothing here
    assert np.allclose(traces[0]["y"][:-1], of_seeds.mean(), rtol=1e-4)
    driver.find_element(By.ID, "reset").click()
    heading = driver.find_elements(By.CSS_SELECTOR, "#jobs th button")[3]
    heading.send_keys(Keys.ENTER)  # by keyboard
    column = [row[3] for row in visible(driver, "jobs")]
    assert column == sorted(column, key=float)
    heading.click()
    assert [row[3] for row in visible(driver, "jobs")] == sorted(column, key=float, reverse=True)
    driver.find_element(By.CSS_SELECTOR, "#jobs [data-open='7']").click()
    WebDriverWait(driver, 20).until(lambda _: driver.find_elements(By.CSS_SELECTOR, "#job[data-job='7']"))
    name = driver.find_element(By.CSS_SELECTOR, "tr[aria-selected=true] td").text
    assert name in driver.find_element(By.CSS_SELECTOR, "#job .path").text
    assert np.allclose(profile(driver), np.log(read_lengths(sweep / name, matrix="mean")).iloc[:, 0], atol=1e-4)
    unsettled = visible(driver, "unsettled")
    assert len(unsettled) == 5 and unsettled[0][1] == "diverged" and unsettled[0][-1] == "why"


def test_a_click_on_a_curve_opens_its_job(opened, sweep):
    driver = opened(sweep / "report.html")
    Select(driver.find_element(By.CSS_SELECTOR, "[data-setting=seed]")).select_by_visible_text("1")
    rows = pd.read_csv(sweep / "job_2_1_1" / "metrics.csv")
    Select(driver.find_element(By.CSS_SELECTOR, "[data-setting='optimizer.lr']")).select_by_visible_text("0.01")
    Select(driver.find_element(By.CSS_SELECTOR, "[data-setting='optimizer.weight_decay']")).select_by_index(2)
    place = rows["step"][3], rows["val/loss"][3]

    def click_opens(_: object) -> bool:
        """Click again if the axes have moved: plotly draws the chosen curves some time after the choice."""
        point(driver, "#curves", *place, click=True)
        return "job_2_1_1" in driver.find_element(By.CSS_SELECTOR, "#job").text

    WebDriverWait(driver, 60, ignored_exceptions=[TimeoutException]).until(click_opens)


def test_what_is_chosen_outlives_a_reload_of_a_page_written_again(opened, tmp_path):
    sweep = leave_sweep(tmp_path / "sweep", decays=1)
    driver = opened(write_report(sweep))
    Select(driver.find_element(By.CSS_SELECTOR, "[data-setting='optimizer.lr']")).select_by_visible_text("0.1")
    Select(driver.find_element(By.ID, "colour")).select_by_value("")
    Select(driver.find_element(By.ID, "mode")).select_by_value("means")
    driver.find_element(By.ID, "log").click()
    driver.find_element(By.CSS_SELECTOR, "#jobs [data-open='3']").click()
    WebDriverWait(driver, 20).until(lambda _: driver.find_elements(By.CSS_SELECTOR, "#job[data-job='3']"))
    leave_job(sweep, "new", seed=9, overrides=("optimizer.lr=0.1", "seed=9"))
    write_report(sweep)
    driver.refresh()
    WebDriverWait(driver, 60).until(lambda _: driver.execute_script("return document.body.dataset.ready"))
    assert [row[0] for row in visible(driver, "jobs")] == ["job_1_0_0", "job_1_0_1", "job_not_begun", "new"]
    assert "job_1_0_1" in driver.find_element(By.CSS_SELECTOR, "#job .path").text
    values = [driver.find_element(By.ID, name).get_attribute("value") for name in ("colour", "mode")]
    assert values == ["", "means"] and driver.find_element(By.ID, "log").is_selected()


def test_a_study_shows_its_table_and_its_runs(opened, tmp_path):
    driver = opened(write_report(leave_study(tmp_path / "study")))
    assert "weight decay 0 is chosen" in driver.find_element(By.CSS_SELECTOR, ".sentences").text
    driver.find_elements(By.CSS_SELECTOR, "table.sortable th button")[1].click()
    cells = driver.find_elements(By.CSS_SELECTOR, "section.run tbody td:nth-child(2)")
    assert [cell.text for cell in cells] == ["0.05", "0.1", "0.2"]
    driver.find_element(By.CSS_SELECTOR, "#jobs [data-open='0']").click()
    WebDriverWait(driver, 20).until(lambda _: driver.find_elements(By.CSS_SELECTOR, "#job[data-job='0']"))


def test_a_strangers_names_are_shown_as_they_are(opened, tmp_path):
    run = leave_job(tmp_path / "sweep", "a", overrides=(f"model.name={STRANGE}",), layer=STRANGE)
    leave_job(tmp_path / "sweep", "b", overrides=("model.name=c",))
    driver = opened(write_report(run))
    assert f"layer 2: {STRANGE}.1" in point(driver, "[data-plot=heat]", 3, 2)
    driver = opened(write_report(tmp_path / "sweep"))
    legend = driver.find_element(By.CSS_SELECTOR, "#curves .legend").text
    assert f"model.name = {STRANGE}" in legend
    driver.find_element(By.CSS_SELECTOR, "#jobs [data-open='0']").click()
    WebDriverWait(driver, 20).until(lambda _: driver.find_elements(By.CSS_SELECTOR, "#job[data-job='0']"))
    assert STRANGE in driver.find_element(By.ID, "job").text and not driver.find_elements(By.CSS_SELECTOR, "img[src=x]")


def test_a_request_or_a_script_that_slipped_into_a_page_would_be_stopped_and_seen(driver, run, tmp_path):
    text = (run / "report.html").read_text()
    for markup in ("<img src='http://127.0.0.1:9/a.png'>", "<script>document.title = 'ran'</script>"):
        (tmp_path / "page.html").write_text(text.replace("<main", f"{markup}<main", 1))
        driver.get_log("browser")
        driver.get((tmp_path / "page.html").as_uri())
        WebDriverWait(driver, 60).until(lambda _: driver.execute_script("return document.body.dataset.ready"))
        assert any("Content Security Policy" in error for error in errors(driver)) and driver.title != "ran"


@pytest.mark.parametrize("width", [1400, 400])
def test_pages_fit_the_screen_and_both_colour_schemes(opened, run, sweep, width):
    for page in (run, sweep):
        driver = opened(page / "report.html")
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for scheme, colour in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 24, 31)")):
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
            time.sleep(0.5)
            assert driver.execute_script("return document.documentElement.scrollWidth") <= width
            assert driver.execute_script("return getComputedStyle(document.body).backgroundColor") == colour
            fonts = "return document.querySelector('.js-plotly-plot')._fullLayout.font.color"
            assert driver.execute_script(fonts) == {"light": "#1d2430", "dark": "#e3e7ee"}[scheme]
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_figures_and_tables_fit_a_printed_page(opened, run, sweep):
    for page in (run, sweep):
        driver = opened(page / "report.html")
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        size = {"width": 966, "height": 700, "deviceScaleFactor": 1, "mobile": False}  # of US letter, landscape
        widths = "return [...document.querySelectorAll('.js-plotly-plot, table')].map((place) => place.scrollWidth)"
        driver.execute_script("window.dispatchEvent(new Event('beforeprint'))")
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        assert 400 < max(driver.execute_script(widths)) <= 966
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 966
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
        driver.execute_script("window.dispatchEvent(new Event('afterprint'))")
        assert max(driver.execute_script(widths)) > 1000


def test_400_jobs_of_100_layers_are_below_15_mb_and_open_within_3_seconds(opened, tmp_path):
    sweep = leave_sweep(tmp_path / "sweep", rates=10, decays=4, seeds=10, layers=100, steps=100)
    page = write_report(sweep)
    assert page.stat().st_size < 15e6
    empty = tmp_path / "empty.html"  # with plotly's script alone: how busy the machine is
    empty.write_text(
        re.sub(
            r'<script type="text/plain" id="data-(?!themes).*?</script>|<main.*</main>',
            "",
            page.read_text(),
            flags=re.S,
        )
    )
    alone, whole = [], []
    for _ in range(3):
        for path, times in ((empty, alone), (page, whole)):
            driver = opened(path)
            times.append(driver.execute_script("return performance.now()") / 1000)
    assert min(whole) < 3 or min(whole) < min(alone) + 1.5, (whole, alone)
    assert len(driver.find_elements(By.CSS_SELECTOR, "#jobs tbody tr")) == 401
    assert os.path.getsize(page) > os.path.getsize(empty)
