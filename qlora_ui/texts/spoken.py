"""The language of a terminal, and faults said in it. Standard library only: it speaks even where nothing else
is installed."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from qlora_ui.errors import UserError
from qlora_ui.texts import error_text


def language(env: Mapping[str, str] = os.environ) -> str:
    """`zh` where the terminal speaks Chinese, else `en`."""
    spoken = env.get("LC_ALL") or env.get("LC_MESSAGES") or env.get("LANG") or ""
    return "zh" if spoken.lower().startswith("zh") else "en"


@contextmanager
def sentences() -> Iterator[None]:
    """Faults that a person can mend become one sentence on stderr and exit code 1, without a traceback."""
    try:
        yield
    except UserError as error:
        sys.exit(" ".join(error_text(language(), error.key, error.values)))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("qlora_ui"):
            raise
        sys.exit(" ".join(error_text(language(), "not_installed", {"module": error.name})))
    except KeyboardInterrupt:
        sys.exit(130)
