"""The server's settings, from `QLORA_UI_*` variables. What a person chooses for a job is in `config.py`."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qlora_ui.errors import UserError

UNITS = {"": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3}


@dataclass(frozen=True, slots=True)
class Settings:
    """How this server is set up; `from_env` names the variable of each."""

    home: Path
    host: str
    port: int
    password: str
    model_dirs: tuple[Path, ...]
    max_upload: int  # bytes
    space_id: str

    @property
    def on_loopback(self) -> bool:
        return self.host in ("127.0.0.1", "localhost", "::1")


def from_env(env: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings. Raises UserError `bad_setting` for a value that cannot be used."""
    space_id = env.get("SPACE_ID", "")
    return Settings(
        home=Path(env.get("QLORA_UI_HOME") or "~/.qlora-ui").expanduser().absolute(),
        host=env.get("QLORA_UI_HOST") or ("0.0.0.0" if space_id else "127.0.0.1"),
        port=_port(env.get("QLORA_UI_PORT") or "7860"),
        password=env.get("QLORA_UI_PASSWORD", "").strip(),
        model_dirs=_folders(env.get("QLORA_UI_MODEL_DIRS", "")),
        max_upload=_size(env.get("QLORA_UI_MAX_UPLOAD") or "2gb"),
        space_id=space_id,
    )


def exposure(settings: Settings, env: Mapping[str, str] = os.environ) -> None:
    """Refuse to be open to strangers: UserError `vibe_mode`, `password_needed`, `password_on_space`."""
    if env.get("GRADIO_VIBE_MODE"):
        raise UserError("vibe_mode")
    if settings.password:
        return
    if settings.space_id:
        if not _private_space(settings.space_id, env):
            raise UserError("password_on_space")
    elif not settings.on_loopback:
        raise UserError("password_needed", host=settings.host)


def _private_space(space_id: str, env: Mapping[str, str]) -> bool:
    """Whether strangers see no such Space. No answer counts as public. Asked without a token, as they are."""
    import httpx  # only a Space asks

    hub = env.get("HF_ENDPOINT") or "https://huggingface.co"
    try:
        answer = httpx.get(f"{hub.rstrip('/')}/api/spaces/{space_id}", timeout=10)
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
    # A refusal counts only from a Hub: a mirror or a proxy that knows no Spaces says 404, too.
    return answer.status_code in (401, 404) and "x-error-code" in answer.headers


def _port(value: str) -> int:
    if not (value.isascii() and value.isdigit()) or not 0 < int(value) < 65536:
        raise UserError("bad_setting", name="QLORA_UI_PORT", value=value, example="7860")
    return int(value)


def _folders(value: str) -> tuple[Path, ...]:
    return tuple(Path(part).expanduser().resolve() for part in value.split(os.pathsep) if part)


def _size(value: str) -> int:
    match = re.fullmatch(r"(\d+) ?([kmg]?b?)", value.lower())
    if not match or (unit := match[2]) not in UNITS:
        raise UserError("bad_setting", name="QLORA_UI_MAX_UPLOAD", value=value, example="2gb")
    return int(match[1]) * UNITS[unit]
