#!/usr/bin/env python3
"""Opens a report in headless Chromium and checks it; no package but Python's own library is needed.

Usage: report_browser.py CHROMIUM REPORT.html [--shots FOLDER]

Fails where the page logs an error, throws, asks for anything beyond its own file, has a canvas without pixels, is wider
than a phone, or draws nothing after a change of the colour scheme. Talks to the browser through pipes
(--remote-debugging-pipe). With --shots the views are also saved as images and as a PDF.
"""

import argparse
import base64
import json
import os
import pathlib
import select
import subprocess
import sys
import tempfile
import time

# Counts canvases and those with pixels, and says how far the page sticks out of the window. Pixels are read from a small
# copy: reading the canvas itself would change how the browser draws it.
CHECK = """(() => {
  const pixelsOf = (canvas) => {
    const copy = new OffscreenCanvas(96, 64).getContext('2d', {willReadFrequently: true});
    if (canvas.width > 0 && canvas.height > 0) copy.drawImage(canvas, 0, 0, 96, 64);
    return copy.getImageData(0, 0, 96, 64).data;
  };
  const canvases = [...document.querySelectorAll('canvas')], root = document.documentElement;
  let sum = 0;
  if (canvases.length > 0) pixelsOf(canvases[0]).forEach((v) => { sum = (sum * 31 + v) % 1000003; });
  return {canvases: canvases.length, charts: Object.keys(Chart.instances).length,
          drawn: canvases.filter((c) => pixelsOf(c).some((v, i) => i % 4 === 3 && v > 0)).length,
          tables: document.querySelectorAll('details table').length, overflow: root.scrollWidth - root.clientWidth,
          paper: getComputedStyle(document.body).backgroundColor, sum};
})()"""


class Browser:
    def __init__(self, program, profile):
        to_browser, self.write_end = os.pipe()
        self.read_end, from_browser = os.pipe()

        def wire():
            # The browser reads from descriptor 3 and writes to 4. Both ends move out of the way first.
            a, b = os.dup(to_browser), os.dup(from_browser)
            high_a, high_b = os.dup2(a, 30), os.dup2(b, 31)
            os.dup2(high_a, 3)
            os.dup2(high_b, 4)

        self.process = subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--remote-debugging-pipe", "--no-first-run", f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=wire, close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self.buffer, self.number, self.events = b"", 0, []

    def receive(self, seconds):
        end = time.monotonic() + seconds
        while b"\0" not in self.buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.read_end], [], [], left)[0]:
                return None
            data = os.read(self.read_end, 1 << 16)
            if not data:
                raise SystemExit("report_browser: the browser has ended")
            self.buffer += data
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, params=None, session=None, seconds=120):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params or {}}
        if session:
            message["sessionId"] = session
        os.write(self.write_end, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive(seconds)
            if answer is None:
                raise SystemExit(f"report_browser: no answer to {method}")
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise SystemExit(f"report_browser: {method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def wait(self, method, seconds=60):
        end = time.monotonic() + seconds
        while not any(e.get("method") == method for e in self.events):
            answer = self.receive(max(0.0, end - time.monotonic()))
            if answer is None:
                raise SystemExit(f"report_browser: waited in vain for {method}")
            self.events.append(answer)

    def close(self):
        self.process.kill()
        self.process.wait()


def problems(events, page):
    found = []
    for event in events:
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            found.append(f"exception: {params['exceptionDetails'].get('exception', params['exceptionDetails'])}")
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            found.append(f"console: {params['args']}")
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            found.append(f"log: {params['entry']['text']}")
        elif method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if url != page and not url.startswith("data:"):
                found.append(f"request for {url}")
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("chromium")
    parser.add_argument("report", type=pathlib.Path)
    parser.add_argument("--shots", type=pathlib.Path)
    options = parser.parse_args()
    page = options.report.resolve().as_uri()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(options.chromium, profile)
        try:
            failures = check(browser, page, options.shots)
        finally:
            browser.close()
    for failure in failures:
        print(f"report_browser: {failure}", file=sys.stderr)
    return 1 if failures else 0


def check(browser, page, shots):
    target = browser.call("Target.createTarget", {"url": "about:blank"})["targetId"]
    session = browser.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]

    def call(method, **params):
        return browser.call(method, params, session)

    def evaluate(expression):
        result = call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise SystemExit(f"report_browser: {result['exceptionDetails']}")
        return result["result"]["value"]

    def view(name, width, height, scheme, scale=1):
        call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
             mobile=width < 600)
        call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        # Resize observers and media queries answer with the next frames.
        call("Runtime.evaluate", awaitPromise=True, expression=
             "new Promise((done) => setTimeout(() => requestAnimationFrame(() => setTimeout(done, 50)), 200))")
        state = evaluate(CHECK)
        if shots:
            image = call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
            (shots / f"{name}.png").write_bytes(base64.b64decode(image["data"]))
        return state

    if shots:
        shots.mkdir(parents=True, exist_ok=True)
    for domain in ("Page", "Runtime", "Log", "Network"):
        call(f"{domain}.enable")
    call("Page.navigate", url=page)
    browser.wait("Page.loadEventFired")

    failures = []
    sums = {}
    for name, width, height, scheme, scale in (("desktop", 1280, 900, "light", 1), ("desktop-dark", 1280, 900, "dark", 1),
                                               ("phone", 390, 844, "light", 2), ("phone-dark", 390, 844, "dark", 2)):
        state = view(name, width, height, scheme, scale)
        print(f"{name}: {state}")
        if state["canvases"] == 0 or not state["canvases"] == state["drawn"] == state["charts"]:
            failures.append(f"{name}: {state['drawn']} of {state['canvases']} canvases are drawn")
        if state["tables"] < state["canvases"]:
            failures.append(f"{name}: a chart has no table")
        if state["overflow"] > 0:
            failures.append(f"{name}: the page is {state['overflow']} pixels wider than the window")
        sums[name] = (state["sum"], state["paper"])
    for light, dark in (("desktop", "desktop-dark"), ("phone", "phone-dark")):
        if any(a == b for a, b in zip(sums[light], sums[dark])):
            failures.append(f"{dark} looks like {light}: {sums}")
    # Printed in dark mode: paper is white.
    pdf = call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, printBackground=False)
    if shots:
        (shots / "print.pdf").write_bytes(base64.b64decode(pdf["data"]))
    return failures + problems(browser.events, page)


if __name__ == "__main__":
    sys.exit(main())
