"""The server's settings, and when it refuses to be open to strangers."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from qlora_ui.errors import UserError
from qlora_ui.settings import Settings, exposure, from_env


def settings(**env: str) -> Settings:
    return from_env(env)


def refused(key: str, settings: Settings, **env: str) -> None:
    with pytest.raises(UserError) as error:
        exposure(settings, env)
    assert error.value.key == key


def test_defaults() -> None:
    plain = settings()
    assert (plain.host, plain.port, plain.home.name, plain.on_loopback) == (
        "127.0.0.1", 7860, ".qlora-ui", True,
    )  # fmt: skip
    assert settings(SPACE_ID="a/b").host == "0.0.0.0"
    assert settings(QLORA_UI_MAX_UPLOAD="3gb").max_upload == 3 * 1000**3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("QLORA_UI_PORT", "http"),
        ("QLORA_UI_PORT", "0"),
        ("QLORA_UI_PORT", "70000"),
        ("QLORA_UI_MAX_UPLOAD", "big"),
    ],
)
def test_a_value_that_cannot_be_used(name: str, value: str) -> None:
    with pytest.raises(UserError) as error:
        from_env({name: value})
    assert error.value.key == "bad_setting"
    assert (error.value.values["name"], error.value.values["value"]) == (name, value)


def test_another_address_needs_a_password() -> None:
    exposure(settings(), {})
    exposure(settings(QLORA_UI_HOST="localhost"), {})
    refused("password_needed", settings(QLORA_UI_HOST="0.0.0.0"))
    exposure(settings(QLORA_UI_HOST="0.0.0.0", QLORA_UI_PASSWORD="x"), {})


def test_vibe_mode_is_refused_even_with_a_password() -> None:
    refused("vibe_mode", settings(QLORA_UI_PASSWORD="x"), GRADIO_VIBE_MODE="1")


@pytest.fixture
def hub() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """A Hub on loopback that knows the Spaces `me/public` and, behind a login, `me/private`."""
    asked: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("authorization")))
            codes = {"/api/spaces/me/public": 200, "/api/spaces/me/private": 401, "/api/spaces/me/odd": 503}
            self.send_response(codes.get(self.path, 404))
            if self.path.startswith("/api/spaces/me/"):
                self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_public_space_needs_a_password(hub: tuple[str, list[tuple[str, str | None]]]) -> None:
    address, asked = hub
    env = {"HF_ENDPOINT": f"{address}/", "HF_TOKEN": "hf_x"}
    refused("password_on_space", settings(SPACE_ID="me/public"), **env)
    exposure(settings(SPACE_ID="me/private"), env)
    exposure(settings(SPACE_ID="me/hidden"), env)
    refused("password_on_space", settings(SPACE_ID="me/odd"), **env)
    assert {token for _, token in asked} == {None}, "asked as a stranger asks"
    asked.clear()
    exposure(settings(SPACE_ID="me/public", QLORA_UI_PASSWORD="x"), env)
    assert asked == []


def test_no_answer_counts_as_public() -> None:
    refused("password_on_space", settings(SPACE_ID="me/x"), HF_ENDPOINT="http://127.0.0.1:9")
    refused("password_on_space", settings(SPACE_ID="me/x"), HF_ENDPOINT="nonsense")


def test_a_refusal_by_something_that_is_no_hub_counts_as_public(
    hub: tuple[str, list[tuple[str, str | None]]],
) -> None:
    refused("password_on_space", settings(SPACE_ID="you/there"), HF_ENDPOINT=hub[0])
