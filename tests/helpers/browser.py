"""A headless Chromium, driven through its DevTools protocol."""

import asyncio
import base64
import itertools
import json
import shutil
import subprocess
import time
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


# How wide it is, and the least contrast of a text with what is behind it (WCAG), with that text.
_LOOKS = """(() => {
  const channels = (text) => {
    const numbers = text.match(/[\\d.]+/g).map(Number), unit = text.startsWith("color(") ? 1 : 255;
    return [...numbers.slice(0, 3).map((each) => each / unit), numbers[3] ?? 1];
  };
  const light = (colour) => colour.slice(0, 3)
    .map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4))
    .reduce((sum, each, at) => sum + each * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (element) => {
    const found = channels(getComputedStyle(element).backgroundColor);
    if (found[3] > 0.9) return found;
    return element.parentElement ? behind(element.parentElement) : channels(CANVAS);
  };
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.backgroundColor = "Canvas";
  const CANVAS = getComputedStyle(probe).backgroundColor;
  probe.remove();
  let worst = [21, ""];
  for (const element of document.querySelectorAll("WITHIN *")) {
    const text = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join("");
    const seen = element.checkVisibility({opacityProperty: true, visibilityProperty: true});
    if (!text || !seen || element instanceof SVGElement) continue;
    const back = behind(element), ink = channels(getComputedStyle(element).color);
    const both = [light(back), light(back.map((each, at) => ink[3] * ink[at] + (1 - ink[3]) * each))];
    const contrast = (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
    if (contrast < worst[0]) worst = [contrast, text];
  }
  const root = document.documentElement;
  return {width: innerWidth, over: root.scrollWidth - root.clientWidth, contrast: worst[0], text: worst[1],
    background: light(behind(document.body))};
})()"""


class Page:
    """One tab."""

    def __init__(self, socket):
        self._socket, self._numbers = socket, itertools.count(1)

    async def command(self, method, **params):
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            answer = await self._socket.receive_json(timeout=60)
            if answer.get("id") == number:
                if "navigated" in answer.get("error", {}).get("message", ""):
                    return {"result": {}}  # the page was left meanwhile, as after a login
                assert "error" not in answer, answer
                return answer["result"]

    async def evaluate(self, script):
        answer = await self.command("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        return answer["result"].get("value")

    async def open(self, url):
        await self.command("Page.navigate", url=url)

    async def text_with(self, *words, timeout_s=60):
        """Return what the page shows, once it shows all of `words`."""
        deadline = time.monotonic() + timeout_s
        while True:
            text = await self.evaluate("document.body ? document.body.innerText : ''")
            if text is not None and all(word in text for word in words):
                return text
            assert time.monotonic() < deadline, f"waited for {words}, the page shows:\n{text}"
            await asyncio.sleep(0.3)

    async def type(self, selector, text):
        await self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")
        await self.command("Input.insertText", text=text)

    async def press(self, label):
        button = f"[...document.querySelectorAll('button')].find(b => b.innerText.trim() === {json.dumps(label)})"
        await self.evaluate(f"{button}.click()")

    async def looks(self, within="body"):
        """Return its width, by how much its content is wider, how light it is, and the least contrast of its texts."""
        return await self.evaluate(_LOOKS.replace("WITHIN", within))

    async def picture(self):
        return base64.b64decode((await self.command("Page.captureScreenshot", format="png"))["data"])


@asynccontextmanager
async def browser_page(profile: Path, width=1400, height=1000, scheme="light"):
    """Start a Chromium with an empty profile in a folder; give out its page; end it.

    The page is exactly so wide, as a window cannot be that is narrower than 500 pixels. `scheme`: light or dark.
    """
    profile.mkdir()
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    where = [f"--user-data-dir={profile}", "--remote-debugging-port=0", f"--window-size={width},{height}"]
    process = subprocess.Popen([PROGRAM, *flags, *where, "about:blank"], stderr=subprocess.DEVNULL)
    try:
        port = await _port(profile / "DevToolsActivePort")
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                (tab,) = [tab for tab in await answer.json() if tab["type"] == "page"]
            async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                page, wanted = Page(socket), [{"name": "prefers-color-scheme", "value": scheme}]
                size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
                await page.command("Emulation.setDeviceMetricsOverride", **size)
                await page.command("Emulation.setEmulatedMedia", features=wanted)
                yield page
    finally:
        process.terminate()
        process.wait(timeout=20)


async def _port(file, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not (file.exists() and file.read_text().strip()):
        assert time.monotonic() < deadline, "Chromium did not start"
        await asyncio.sleep(0.1)
    return int(file.read_text().split()[0])
