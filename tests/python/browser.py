"""Pages in a real browser: a signed-in Chromium of a project's server, with its eyes open for anything that a
page must never do."""

import contextlib
import os
import pathlib
import shutil
import subprocess

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from waiting import until

# As distributions call it.
CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 400, "height": 800}


class Server:
    """A server of the project, at an address that it keeps when it begins again."""

    def __init__(self, project, *options):
        self.project, self.options, self.address = project, options, "http://127.0.0.1:0"

    def begin(self):
        named = self.project.folder / ".trunkline" / "api-url"
        named.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [str(self.project.binary), "serve", "--bind", self.address.removeprefix("http://"), *self.options],
            cwd=self.project.folder, env=self.project.environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        self.address = until(lambda: named.exists() and named.read_text(), 60, "the server's address")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        self.process.terminate()
        self.process.wait(60)


@contextlib.contextmanager
def served(project, *options):
    """The address of a server of the project, while it runs."""
    server = Server(project, *options)
    try:
        server.begin()
        yield server.address
    finally:
        server.end()


def link(project):
    """A link that signs in once."""
    return project.call("open", "--print").stdout.strip()


@contextlib.contextmanager
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Hand:
    """What somebody does to a page, counted: how far a page is from what people want of it."""

    def __init__(self, page):
        self.page, self.clicks, self.keys = page, 0, 0

    def click(self, what):
        what.click()
        self.clicks += 1

    def press(self, key):
        self.page.keyboard.press(key)
        self.keys += 1

    def write(self, what, text):
        """Into a field: a click that goes there, and its letters."""
        self.click(what)
        what.press_sequentially(text)
        self.keys += len(text)


class Reader:
    """Somebody with a browser. What the pages complain of is collected, and must be nothing at the end."""

    def __init__(self, browser, project, **options):
        self.project = project
        self.context = browser.new_context(**({"viewport": WIDE} | options))
        self.page = self.context.new_page()
        self.page.set_default_timeout(30_000)
        self.hand = Hand(self.page)
        self.complaints = []
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"a dialog: {dialog.message}"))

    def sign_in(self):
        self.page.goto(link(self.project))
        self.page.wait_for_selector("h1:has-text('Pipelines')")
        return self

    def shot(self, name):
        """Keeps a picture of what is seen, where somebody wants to look at them."""
        folder = os.environ.get("TRUNKLINE_TEST_SHOTS")
        if folder:
            pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=f"{folder}/{name}.png", full_page=True)

    def assert_accessible(self):
        """What axe-core finds is nothing: names, roles, contrast, order."""
        found = Axe().run(self.page)
        assert found.violations_count == 0, found.generate_report()

    def close(self):
        self.context.close()
        assert self.complaints == []
