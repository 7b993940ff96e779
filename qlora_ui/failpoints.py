"""Places where `make chaos` makes a process die, freeze or meet a full disk. Without it they do nothing.

`QLORA_UI_FAILPOINT=NAME[:COUNT][:kill|stop|full]`: at its COUNT-th passing in a process (the first, if not
said) the place NAME kills it (SIGKILL, if not said), stops it until SIGCONT, or raises ENOSPC; once.
"""

import errno
import os
import re
import signal

VARIABLE = "QLORA_UI_FAILPOINT"
SETTING = re.compile(r"(?P<name>[a-z]+)(:(?P<count>\d+))?(:(?P<act>kill|stop|full))?")

_left: dict[str, int] = {}  # passings until it acts


def failpoint(name: str) -> None:
    """Act here if the environment says so. Raises OSError (ENOSPC) for `full`."""
    setting = os.environ.get(VARIABLE)
    if not setting:
        return
    if not (match := SETTING.fullmatch(setting)) or match["name"] != name:
        return
    _left[name] = _left.get(name, int(match["count"] or 1)) - 1
    if _left[name] == 0:
        os.write(2, f"failpoint {setting}, pid {os.getpid()}\n".encode())
        _act(match["act"] or "kill")


def _act(act: str) -> None:
    if act == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.kill(os.getpid(), signal.SIGSTOP if act == "stop" else signal.SIGKILL)
