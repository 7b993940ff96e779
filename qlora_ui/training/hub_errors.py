"""What the Hub, or the way to it, refuses: library errors → the sentence a person reads."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import (
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from qlora_ui.errors import UserError
from qlora_ui.training.hub_files import Repo
from qlora_ui.training.worker import causes, disk_full

WRONG_TOKEN = "Invalid credentials in Authorization header"  # as the Hub says it; other 401s mean: not found
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)


@contextmanager
def explained(repo: Repo) -> Iterator[None]:
    """Raises what is raised inside as a UserError, wherever a person can mend it."""
    try:
        yield
    except Exception as error:
        reason = explain(error, repo)
        if reason is None:
            raise
        raise reason from error


def explain(error: Exception, repo: Repo) -> UserError | None:
    """Keys: model_not_found, model_gated, dataset_not_found, dataset_gated, token_refused,
    revision_not_found, hub_refused, not_a_hub, offline_mode, no_network, disk_full, cache_unwritable.
    """
    if isinstance(error, UserError):
        return error
    if disk_full(error):
        return UserError("disk_full", folder=constants.HF_HUB_CACHE)
    for cause in causes(error):
        if isinstance(cause, HfHubHTTPError):
            return _answer(cause, repo)
        if isinstance(cause, OfflineModeIsEnabled):
            return UserError("offline_mode", id=repo.id, cache=constants.HF_HUB_CACHE)
        if isinstance(cause, HFValidationError):  # no repository can have such an id
            return UserError(f"{repo.kind}_not_found", id=repo.id, endpoint=constants.ENDPOINT)
        if isinstance(cause, FileMetadataError):  # the page of a firewall, or a mirror that leaves things out
            return UserError("not_a_hub", endpoint=constants.ENDPOINT)
        if isinstance(cause, OSError) and cause.errno in UNWRITABLE:
            return UserError("cache_unwritable", folder=constants.HF_HUB_CACHE, reason=cause.strerror)
    return unreachable(error)


def unreachable(error: BaseException) -> UserError | None:
    """no_network, if that is what is behind an error."""
    for cause in causes(error):
        if isinstance(cause, httpx2.TransportError):
            reason = str(cause) or type(cause).__name__
            return UserError("no_network", endpoint=constants.ENDPOINT, reason=reason)
    return None


def _answer(error: HfHubHTTPError, repo: Repo) -> UserError:
    """What the Hub answered instead of the file."""
    status = error.response.status_code
    if isinstance(error, GatedRepoError):
        return UserError(f"{repo.kind}_gated", id=repo.id, url=_page(repo))
    if isinstance(error, RevisionNotFoundError):
        return UserError("revision_not_found", id=repo.id, revision=repo.revision)
    if status == 401 and error.response.headers.get("X-Error-Message") == WRONG_TOKEN:
        return UserError("token_refused", endpoint=constants.ENDPOINT)
    if isinstance(error, RepositoryNotFoundError) or status == 401:  # the Hub does not tell it from private
        return UserError(f"{repo.kind}_not_found", id=repo.id, endpoint=constants.ENDPOINT)
    reason = error.response.headers.get("X-Error-Message") or error.response.reason_phrase
    return UserError("hub_refused", id=repo.id, endpoint=constants.ENDPOINT, status=status, reason=reason)


def _page(repo: Repo) -> str:
    """Of the repository, for people."""
    return f"{constants.ENDPOINT}/{'datasets/' if repo.kind == 'dataset' else ''}{repo.id}"
