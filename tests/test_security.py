"""Who may speak to the server: its own page, under its own name, logged in where a password is set."""

from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from qlora_ui.settings import from_env
from qlora_ui.ui.routes import BASE
from qlora_ui.ui.security import SameOrigin, own_names, spoken
from tests.fake_launcher import Home
from tests.served import Served

PAGE = ("/", "/config", "/gradio_api/info", f"{BASE}/jobs")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(Home(tmp_path_factory.mktemp("home"), [""]), password="correct horse")
    yield served
    served.stop()


@pytest.mark.parametrize("path", PAGE)
@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "[::1", ""])
def test_a_foreign_name_is_refused_everywhere(served: Served, path: str, host: str) -> None:
    answer = served.client.get(path, headers={"host": host})
    assert answer.status_code in (400, 403)
    assert b"gradio" not in answer.content


@pytest.mark.parametrize("path", PAGE)
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://127.0.0.1:9", "http://localhost", "null", "", "file://"]
)
def test_another_web_page_is_refused_everywhere(served: Served, path: str, origin: str) -> None:
    for method in ("GET", "POST"):
        answer = served.client.request(method, path, headers={"origin": origin})
        assert answer.status_code == 403
        assert answer.text == "Another web page tried to use this server: refused."


def test_every_own_route_needs_the_login(served: Served) -> None:
    job = served.home.run()
    one = f"{BASE}/jobs/{job.id}"
    with httpx.Client(base_url=served.origin, trust_env=False, headers={"origin": served.origin}) as client:
        for path in (f"{BASE}/jobs", f"{one}/events", f"{one}/details", f"{one}/adapter.zip"):
            assert client.get(path).status_code == 401
        for action in ("stop", "rename", "delete", "token", "nonsense"):
            answer = client.post(f"{one}/{action}", json={})
            assert answer.status_code == 401
            assert "Log in first" in answer.json()["error"]
        client.cookies.set(f"access-token-{served.server.app.cookie_id}", "guessed")
        assert client.get(f"{BASE}/jobs").status_code == 401
        client.cookies.clear()
        wrong = client.post("/login", data={"username": "qlora", "password": "wrong"})
        assert wrong.status_code == 400
        client.post("/login", data={"username": "qlora", "password": "correct horse"}).raise_for_status()
        assert client.get(f"{BASE}/jobs").json()["jobs"]
        with client.stream("GET", f"{one}/events") as stream:
            assert stream.status_code == 200
    assert served.home.job(job).state == "running"


def allowed(host: str, name: str, **env: str) -> bool:
    settings = replace(from_env({"QLORA_UI_HOME": "/nowhere"}), host=host)
    guard = SameOrigin(lambda *_: None, settings)  # type: ignore[arg-type, return-value]
    guard.names = own_names(settings, env)
    return guard._ours(name)


def test_the_names_of_a_server() -> None:
    assert all(allowed("127.0.0.1", name) for name in ("localhost", "127.0.0.1", "::1"))
    assert not allowed("127.0.0.1", "192.168.1.7")
    assert allowed("lab.example.org", "lab.example.org")
    assert allowed("0.0.0.0", "192.168.1.7")
    assert not allowed("0.0.0.0", "evil.example")
    assert allowed("0.0.0.0", "me-app.hf.space", SPACE_HOST="me-app.hf.space, my.example")
    assert allowed("0.0.0.0", "my.example", SPACE_HOST="me-app.hf.space, my.example")
    assert not allowed("0.0.0.0", "", SPACE_HOST="")


def test_refusals_speak_the_browsers_language() -> None:
    assert [spoken(said) for said in ("zh-CN,zh;q=0.9", "fr,zh;q=0.8", "de", "")] == ["zh", "zh", "en", "en"]
