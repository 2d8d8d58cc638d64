"""A real JupyterLab on a free port of this machine, with a home of its own and nothing of the network."""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import nbformat

from tests.conftest import ROOT

QUIET = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}
DARK = {"@jupyterlab/apputils-extension:themes": {"theme": "JupyterLab Dark"}}
KERNEL_STATUS = "jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status"
PROMPTS = "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map((p) => p.textContent.trim())"


def die_with_parent() -> None:
    """Linux ends the server when the test process dies, even when it is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Lab:
    """The server; ``open`` gives a notebook in a page."""

    def __init__(self, folder: Path, *, dark: bool = False) -> None:
        self.root = folder / "work"
        self.root.mkdir(parents=True)
        self._folder = folder
        self._token = secrets.token_hex(16)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        settings = folder / "settings"
        settings.mkdir()
        (settings / "overrides.json").write_text(json.dumps(QUIET | (DARK if dark else {})))
        self._log = (folder / "lab.log").open("wb")
        self._process = subprocess.Popen(
            self._command(settings), env=self._environment(), stdout=self._log, stderr=self._log, cwd=self.root,
            start_new_session=True, preexec_fn=die_with_parent,
        )  # fmt: skip

    def _command(self, settings: Path) -> list[str]:
        options = {
            "ip": "127.0.0.1",
            "port": self.port,
            "ServerApp.port_retries": 0,
            "ServerApp.root_dir": self.root,
            "ServerApp.terminals_enabled": False,
            "LabApp.expose_app_in_browser": True,
            "LabApp.app_settings_dir": settings,
            "LabApp.user_settings_dir": self._folder / "user",
            "LabApp.workspaces_dir": self._folder / "workspaces",
            "LabApp.extension_manager": "readonly",
            "KernelManager.transport": "ipc",
        }
        root = ["--allow-root"] if os.geteuid() == 0 else []
        return [sys.executable, "-m", "jupyterlab", "--no-browser", *root, *(f"--{k}={v}" for k, v in options.items())]

    def _environment(self) -> dict[str, str]:
        private = {f"JUPYTER_{name}_DIR": str(self._folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
        return {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "HOME": str(self._folder),
            "IPYTHONDIR": str(self._folder / "ipython"),
            "JUPYTER_TOKEN": self._token,
            "PYTHONPATH": str(ROOT),
            "LANG": "C.UTF-8",
            "ANYWIDGET_HMR": "0",
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "OMP_NUM_THREADS": "1",
            **private,
        }

    def __enter__(self) -> Self:
        deadline = time.monotonic() + 60
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/status", headers={"Authorization": f"token {self._token}"}
        )
        while True:
            try:
                urllib.request.urlopen(request, timeout=2).close()
                return self
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                if time.monotonic() > deadline or self._process.poll() is not None:
                    self.__exit__(None, None, None)
                    raise AssertionError(f"JupyterLab did not start:\n{self.log()}") from None
                time.sleep(0.1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for ending in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is None:
                os.killpg(self._process.pid, ending)
                try:
                    self._process.wait(8)
                except subprocess.TimeoutExpired:
                    continue
        self._log.close()

    def log(self) -> str:
        """What the server said."""
        return (self._folder / "lab.log").read_text(errors="replace")[-3000:]

    def write(self, name: str, *sources: str) -> str:
        """A notebook of code cells, to be opened by its name."""
        cells = [nbformat.v4.new_code_cell(source, id=f"cell-{n}") for n, source in enumerate(sources)]
        metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), self.root / f"{name}.ipynb")
        return f"{name}.ipynb"

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/lab/tree/{path}?reset&token={self._token}"


class Notebook:
    """A notebook in a page of the browser."""

    def __init__(self, context: Any, lab: Lab, path: str) -> None:
        from playwright.sync_api import TimeoutError as PlaywrightTimeout

        self.never = PlaywrightTimeout
        """What is raised when something waited for does not come."""
        self.lab, self.path = lab, path
        self.problems: list[str] = []
        self.page = context.new_page()
        self.page.set_default_timeout(20_000)
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("dialog", self._dismiss)
        self.page.on("request", self._check_request)
        self.load()

    def load(self) -> None:
        """Open it, or open it again."""
        self.page.goto(self.lab.url(self.path))
        self.page.wait_for_selector(".jp-Notebook .jp-Cell")
        self.page.wait_for_function(f"['idle', 'busy'].includes({KERNEL_STATUS})", timeout=60_000)

    def run_all(self, *, wait: bool = True, timeout_s: float = 90) -> None:
        """Run every cell, and wait for the last one."""
        # Not awaited: the promise of the command may never resolve.
        self.page.evaluate("void jupyterapp.commands.execute('notebook:run-all-cells')")
        if wait:
            self.wait_done(timeout_s)

    def clear_outputs(self) -> None:
        """Forget what the file brought, its numbers included."""
        self.page.evaluate("jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
        self.page.wait_for_function(f"{PROMPTS}.every((text) => /^\\[ ?\\]:?$/.test(text))")

    def wait_done(self, timeout_s: float = 90) -> None:
        """Wait until each cell has its number."""
        done = f"{PROMPTS}.every((text) => /^\\[\\d+\\]:?$/.test(text))"
        try:
            self.page.wait_for_function(done, timeout=timeout_s * 1000)
        except self.never as error:
            raise AssertionError(f"not every cell ran in {timeout_s} s\n{self.state()}") from error

    def state(self) -> str:
        """What the page and the server say, for a failing test's report."""
        prompts, kernel = self.page.evaluate(PROMPTS), self.page.evaluate(KERNEL_STATUS)
        outputs = "\n".join(self.page.locator(".jp-OutputArea").all_inner_texts())[-3000:]
        dialogs = self.page.locator(".jp-Dialog").all_inner_texts()
        return (
            f"prompts {prompts}, kernel {kernel}, dialogs {dialogs}, problems {self.problems}\n"
            f"outputs:\n{outputs}\nserver:\n{self.lab.log()}"
        )

    def run_cell(self, number: int) -> None:
        """Run one cell and do not wait."""
        self.page.evaluate(
            """(number) => {
              const { content } = jupyterapp.shell.currentWidget;
              content.activeCellIndex = number;
              content.deselectAll();
              void jupyterapp.commands.execute("notebook:run-cell");
            }""",
            number,
        )

    def interrupt(self) -> None:
        """Press the kernel's ■."""
        self.page.evaluate("void jupyterapp.shell.currentWidget.sessionContext.session.kernel.interrupt()")

    def save(self) -> dict[str, Any]:
        """Save, and return what stands in the file."""
        self.page.evaluate("jupyterapp.shell.currentWidget.context.save()")
        return json.loads((self.lab.root / self.path).read_text())

    def output(self, number: int) -> Any:
        """The output area of a code cell."""
        return self.page.locator(".jp-CodeCell").nth(number).locator(".jp-OutputArea")

    def wait_for_text(self, selector: str, words: str, timeout_s: float = 20) -> None:
        """Wait until an element holds some text."""
        self.page.wait_for_function(
            "([selector, words]) => document.querySelector(selector)?.textContent.includes(words)",
            arg=[selector, words], timeout=timeout_s * 1000,
        )  # fmt: skip

    def close(self) -> None:
        self.page.evaluate("void jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        self.page.close()

    def _dismiss(self, dialog: Any) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _check_request(self, request: Any) -> None:
        if not request.url.startswith((f"http://127.0.0.1:{self.lab.port}/", "data:", "blob:")):
            self.problems.append(f"request: {request.url}")
