"""The page at /, in a headless Chromium, as people use it: by mouse, by keyboard, in the dark, on a phone."""

import pathlib
import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

import harness

PHONE = (390, 844)
DESK = (1280, 900)


@pytest.fixture(scope="module")
def screenshots():
    folder = pathlib.Path("playground-screenshots")
    folder.mkdir(exist_ok=True)
    return folder.resolve()


@pytest.fixture(params=[(DESK, "light"), (DESK, "dark"), (PHONE, "light")], ids=["desk", "dark", "phone"])
def page(request, server):
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        pytest.skip("chromium is not installed (tools/setup.sh --ci brings it)")
    (width, height), scheme = request.param
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                               {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia",
                               {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        driver.get(server.url + "/")
        driver.name_of_view = request.node.callspec.id
        yield driver
        complaints = [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
        assert complaints == []
    finally:
        driver.quit()


def wait(page, condition):
    return WebDriverWait(page, harness.PATIENCE).until(condition)


def text_of(page, selector):
    return page.find_element(By.CSS_SELECTOR, selector).text


def ask(page, text):
    box = page.find_element(By.ID, "input")
    box.send_keys(text)
    box.send_keys(Keys.CONTROL, Keys.ENTER)
    wait(page, lambda _: page.find_element(By.ID, "send").is_enabled() and
         "first token" in text_of(page, "#timing"))


def test_chats_and_colours_tokens_by_expert(page, screenshots):
    wait(page, lambda _: "8 experts" in text_of(page, "#model"))
    ask(page, "What is 12 + 7?")
    assert "19" in text_of(page, ".message.assistant")
    assert len(page.find_elements(By.CSS_SELECTOR, ".message.assistant .token")) >= 1
    Select(page.find_element(By.ID, "colour")).select_by_value("2")
    coloured = page.find_elements(By.CSS_SELECTOR, ".token.coloured")
    assert coloured and all("layer 2: experts" in token.get_attribute("title") for token in coloured)
    assert len(page.find_elements(By.CSS_SELECTOR, "#legend li")) == 8
    assert len(page.find_elements(By.CSS_SELECTOR, "#heat tbody tr")) == 4
    assert len(page.find_elements(By.CSS_SELECTOR, "#ranks li")) == 2
    wait(page, lambda _: len(page.find_elements(By.CSS_SELECTOR, "#charts figure")) == 6)
    page.save_screenshot(str(screenshots / f"{page.name_of_view}.png"))
    # Nothing is wider than the view.
    assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


def test_completes_text_and_stops(page):
    if page.name_of_view != "desk":
        pytest.skip("once is enough")
    wait(page, lambda _: "8 experts" in text_of(page, "#model"))
    page.find_element(By.CSS_SELECTOR, 'input[value="completion"]').click()
    ask(page, "In the beginning")
    assert text_of(page, ".message.completion").startswith("completion\nIn the beginning")
    page.find_element(By.ID, "clear").click()
    assert text_of(page, "#transcript") == ""
    page.find_element(By.TAG_NAME, "summary").click()
    most = page.find_element(By.ID, "max_tokens")
    most.clear()
    most.send_keys("4000")
    box = page.find_element(By.ID, "input")
    box.send_keys(Keys.CONTROL, Keys.ENTER)

    def num_tokens(*_):
        return page.execute_script("return document.querySelectorAll('.message .token').length")

    WebDriverWait(page, harness.PATIENCE, poll_frequency=0.01).until(lambda _: num_tokens() > 3)
    box.send_keys(Keys.ESCAPE)
    wait(page, lambda _: page.find_element(By.ID, "send").is_enabled())
    assert num_tokens() < 4000


def test_an_error_is_shown_and_markup_stays_text(page):
    if page.name_of_view != "desk":
        pytest.skip("once is enough")
    page.execute_script("document.getElementById('temperature').value = 9")
    box = page.find_element(By.ID, "input")
    box.send_keys("<img src=x onerror=alert(1)>")
    box.send_keys(Keys.CONTROL, Keys.ENTER)
    wait(page, lambda _: "temperature" in text_of(page, ".message.error"))
    assert page.find_elements(By.CSS_SELECTOR, "#transcript img") == []
    page.get_log("browser")  # the 400 that was meant


def test_everything_is_reached_by_keyboard(page):
    if page.name_of_view != "desk":
        pytest.skip("once is enough")
    reached = set()
    body = page.find_element(By.TAG_NAME, "body")
    for _ in range(25):
        page.switch_to.active_element.send_keys(Keys.TAB) if reached else body.send_keys(Keys.TAB)
        active = page.switch_to.active_element
        reached.add(active.get_attribute("id") or active.get_attribute("name") or active.tag_name)
    assert {"key", "theme", "mode", "colour", "clear", "input", "send", "summary"} <= reached
    before = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    page.find_element(By.ID, "theme").send_keys(Keys.SPACE)
    assert page.execute_script("return getComputedStyle(document.body).backgroundColor") != before
