"""For all tests: a skip needs a reason that is allowed here, and no test touches a person's own jobs."""

import os
import tempfile

import pytest
from hypothesis import settings

ALLOWED_SKIPS = ("no CUDA",)  # beginnings of reasons

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


def pytest_configure(config: pytest.Config) -> None:
    home = tempfile.TemporaryDirectory(prefix="qlora-ui-test-")
    config.add_cleanup(home.cleanup)
    os.environ["QLORA_UI_HOME"] = home.name
    config.stash[REFUSED] = []
    config.pluginmanager.register(Skips(config.stash[REFUSED]))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.stash[REFUSED] and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for name, reason in config.stash[REFUSED]:
        terminalreporter.write_line(f"REFUSED SKIP {name}: {reason}", red=True)


class Skips:
    """Notes each skip without an allowed reason: a test that never runs must not look like it passed."""

    def __init__(self, refused: list[tuple[str, str]]) -> None:
        self.refused = refused

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and isinstance(report.longrepr, tuple):
            reason = report.longrepr[2].removeprefix("Skipped: ")
            if not reason.startswith(ALLOWED_SKIPS):
                self.refused.append((report.nodeid, reason))


REFUSED = pytest.StashKey[list[tuple[str, str]]]()
