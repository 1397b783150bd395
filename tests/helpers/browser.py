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

    async def picture(self):
        return base64.b64decode((await self.command("Page.captureScreenshot", format="png"))["data"])


@asynccontextmanager
async def browser_page(profile: Path, width=1400, height=1000):
    """Start a Chromium with an empty profile in a folder; give out its page; end it."""
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
                yield Page(socket)
    finally:
        process.terminate()
        process.wait(timeout=20)


async def _port(file, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not (file.exists() and file.read_text().strip()):
        assert time.monotonic() < deadline, "Chromium did not start"
        await asyncio.sleep(0.1)
    return int(file.read_text().split()[0])
