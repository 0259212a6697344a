"""The HTML page in a real Chromium: no error; hovering, filtering, narrow screens and the keyboard work."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from mica.cli.main import main

_CHARTS = ("accuracy", "against", "edges", "nodes", "cost", "layers", "layer-nodes", "curves")
_SWEEP = """\
name: looked-at
data: {name: synthetic, size: 8, channels: 1, classes: 4, train: 60, test: 20}
models: [{name: mlp, hidden: [16, 16]}, {name: mlp, hidden: [12], title: small}]
seeds: [0, 1]
ratios: [2, 4, 1000]
methods: [mica-erk, rpi-erk, dense]
protocol: {epochs: 3, batch_size: 16, augment: none}
mlflow: false
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    (folder / "sweep.yaml").write_text(_SWEEP + f"storage: {folder}/results\n")
    for arguments in (["run", "--here"], ["report", "--html"]):
        done = CliRunner().invoke(main, [*arguments, str(folder / "sweep.yaml")])
        assert done.exit_code == 0, done.output
    return folder / "results/report.html"


@pytest.fixture
def browser(request: pytest.FixtureRequest, file: Path) -> Iterator[webdriver.Chrome]:
    """As wide as the test asks for."""
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver")) as found:
        width = getattr(request, "param", 1200)
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        found.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        found.get(file.as_uri())
        WebDriverWait(found, 60).until(
            lambda page: len(page.find_elements(By.CSS_SELECTOR, ".main-svg")) >= 8
        )
        yield found
        assert [entry for entry in found.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.mark.parametrize("browser", [1200, 390], indirect=True)
def test_every_chart_is_drawn_and_nothing_sticks_out(browser: webdriver.Chrome) -> None:
    for name in _CHARTS:
        chart = browser.find_element(By.CSS_SELECTOR, f"#{name} .chart")
        assert chart.find_elements(By.CSS_SELECTOR, ".trace, .bars"), name
        assert "table below" in str(chart.get_attribute("aria-label"))
    width = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert width[0] <= width[1]


def test_hovering_tells_a_point_s_seeds(browser: webdriver.Chrome) -> None:
    chart = browser.find_element(By.CSS_SELECTOR, "#accuracy .chart")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", chart)
    point = chart.find_elements(By.CSS_SELECTOR, ".scatterlayer .point")[0]
    ActionChains(browser).move_to_element(point).perform()
    told = WebDriverWait(browser, 10).until(lambda _: chart.find_element(By.CSS_SELECTOR, ".hoverlayer").text)
    assert "MiCA-ERK at 10^" in told and "seed 0" in told


def test_a_method_can_be_left_out_by_the_keyboard(browser: webdriver.Chrome) -> None:
    def lines() -> set[str]:
        return {item.text for item in browser.find_elements(By.CSS_SELECTOR, "#accuracy .legendtext")}

    assert lines() == {"MiCA-ERK", "RPI-ERK", "Dense"}
    box = browser.find_elements(By.CSS_SELECTOR, "#methods input")[1]
    box.send_keys(" ")
    assert lines() == {"MiCA-ERK", "Dense"}


def test_another_network_and_cell_are_shown(browser: webdriver.Chrome) -> None:
    networks = Select(browser.find_element(By.ID, "network"))
    assert len(networks.options) == 2
    networks.select_by_index(1)
    Select(browser.find_element(By.ID, "cell-method")).select_by_visible_text("RPI-ERK")
    Select(browser.find_element(By.ID, "cell-ratio")).select_by_visible_text("10^3")
    assert browser.find_element(By.CSS_SELECTOR, "#curves h2").text == "Training: RPI-ERK at 10^3"
    assert browser.find_element(By.CSS_SELECTOR, "#curves .note").text == "Nothing was trained."


def test_any_method_can_be_compared_with(browser: webdriver.Chrome) -> None:
    def row(method: str) -> list[str]:
        details = browser.find_element(By.CSS_SELECTOR, "#against details")
        cells = details.find_elements(By.CSS_SELECTOR, "tbody tr:first-child td")
        texts = [str(cell.get_attribute("textContent")) for cell in cells]
        assert texts[0] == method
        return texts

    reference = Select(browser.find_element(By.ID, "reference"))
    assert [option.text for option in reference.options] == ["MiCA-ERK", "RPI-ERK"]
    assert browser.find_element(By.CSS_SELECTOR, "#against h2").text == "Better than MiCA-ERK?"
    rpi = row("RPI-ERK")
    reference.select_by_visible_text("RPI-ERK")
    assert browser.find_element(By.CSS_SELECTOR, "#against h2").text == "Better than RPI-ERK?"
    mica = row("MiCA-ERK")
    assert float(mica[3]) == -float(rpi[3])
    assert mica[1:3] == rpi[1:3] and mica[5] == rpi[5]
    low, high = (float(end) for end in mica[4].split(" to "))
    assert rpi[4] == " to ".join(f"{-end:+.1f}" for end in (high, low))


def test_its_tables_say_what_the_parquet_says(browser: webdriver.Chrome, file: Path) -> None:
    network = Select(browser.find_element(By.ID, "network")).first_selected_option.text
    details = browser.find_element(By.CSS_SELECTOR, "#accuracy details")
    details.find_element(By.TAG_NAME, "summary").click()
    head = [cell.text for cell in details.find_elements(By.CSS_SELECTOR, "th")]
    lines = [
        [cell.text for cell in row.find_elements(By.TAG_NAME, "td")]
        for row in details.find_elements(By.CSS_SELECTOR, "tbody tr")
    ]
    (line,) = [dict(zip(head, line, strict=True)) for line in lines if line[:2] == ["MiCA-ERK", "10^0.3"]]
    trials = pd.read_parquet(file.parent / "tables/trials.parquet")
    cell = (trials["dataset"] + " · " + trials["model"]).eq(network) & trials["method"].eq("mica-erk")
    mine = trials[cell & trials["log10_ratio"].lt(0.4)]
    assert line["seeds"] == "2"
    assert float(line["test top-1 %"]) == pytest.approx(mine["test_top1"].mean(), abs=0.006)
    for seed, accuracy in zip(mine["seed"], mine["test_top1"], strict=True):
        assert float(line[f"seed {seed}"]) == pytest.approx(accuracy, abs=0.006)
