"""The page at /, in a headless Chromium, as people use it: by mouse, by keyboard, in the dark, on a phone."""

import pathlib
import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

import harness
from test_grpc import idle

PHONE = (390, 844)
DESK = (1280, 900)
# The page's requests that can be aborted get so many events of a stream, then nothing until they are: so many tokens are
# shown at most, however fast the server is. numHeld and numAborted count them.
NUM_EVENTS = 8
HOLD_STREAMS = """
const [most] = arguments;
const fetchFromServer = window.fetch;
window.numHeld = window.numAborted = 0;
window.fetch = async (path, options) => {
  const response = await fetchFromServer(path, options);
  const signal = options.signal;
  if (!signal) return response;
  const aborted = new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const encoder = new TextEncoder();
  let text = "";
  let passed = 0;
  return new Response(new ReadableStream({
    async pull(controller) {
      while (passed < most && !text.includes("\\n\\n")) {
        const { value, done } = await reader.read();
        if (done) return controller.close();
        text += value;
      }
      if (passed < most) {
        const end = text.indexOf("\\n\\n") + 2;
        controller.enqueue(encoder.encode(text.slice(0, end)));
        text = text.slice(end);
        ++passed;
        return;
      }
      ++window.numHeld;
      await aborted;
      ++window.numAborted;
      controller.error(signal.reason);
    },
  }), response);
};
"""


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


def test_completes_text_and_stops(page, long_server):
    if page.name_of_view != "desk":
        pytest.skip("once is enough")
    page.get(long_server.url + "/")
    wait(page, lambda _: "8 experts" in text_of(page, "#model"))
    page.find_element(By.CSS_SELECTOR, 'input[value="completion"]').click()
    ask(page, "In the beginning")
    assert text_of(page, ".message.completion").startswith("completion\nIn the beginning")
    page.find_element(By.ID, "clear").click()
    assert text_of(page, "#transcript") == ""
    page.find_element(By.TAG_NAME, "summary").click()
    most = page.find_element(By.ID, "max_tokens")
    most.clear()
    most.send_keys(str(harness.ENDLESS_TOKENS))
    page.execute_script(HOLD_STREAMS, NUM_EVENTS)
    box = page.find_element(By.ID, "input")
    box.send_keys(Keys.CONTROL, Keys.ENTER)

    def shown():
        return page.execute_script("return document.querySelectorAll('.message .token').length")

    wait(page, lambda _: page.execute_script("return window.numHeld") == 1)
    wait(page, lambda _: shown() > 0)
    assert not page.find_element(By.ID, "send").is_enabled() and page.find_element(By.ID, "stop").is_enabled()
    box.send_keys(Keys.ESCAPE)
    wait(page, lambda _: page.find_element(By.ID, "send").is_enabled())
    assert not page.find_element(By.ID, "stop").is_enabled()
    assert page.execute_script("return window.numAborted") == 1
    assert 1 <= shown() <= NUM_EVENTS
    assert text_of(page, "#timing").endswith(", done")  # no rate: the usage at the stream's end was not waited for
    assert page.find_elements(By.CSS_SELECTOR, ".message.error") == []
    harness.wait_until(lambda: idle(long_server), "the request has ended")


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
