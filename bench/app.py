"""`app.py` as a process over a home folder."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from bench.table import free_port
from qlora_ui.ui.routes import BASE

ROOT = Path(__file__).parents[1]


class App:
    """Started at once; `began` is when, on the monotonic clock."""

    def __init__(self, home: Path) -> None:
        self.port = free_port()
        self.origin = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.origin, timeout=60, trust_env=False)
        env = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
        env |= {"QLORA_UI_HOME": str(home), "QLORA_UI_PORT": str(self.port), "LC_ALL": "C.UTF-8"}
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "app.py"], cwd=ROOT, env=env, stdout=subprocess.DEVNULL
        )

    def rows(self) -> list[dict[str, Any]]:
        """The jobs as the page shows them; none while it is not up."""
        try:
            answer = self.client.get(f"{BASE}/jobs")
        except httpx.HTTPError:
            return []
        return list(answer.json()["jobs"]) if answer.status_code == 200 else []

    def post(self, path: str) -> None:
        answer = self.client.post(f"{BASE}/{path}", json={}, headers={"origin": self.origin})
        assert answer.status_code == 200, answer.text

    def close(self) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait()
