"""Publishing a build: a dataset repository on the Hub with its shards, its manifest and its card.

What is there already is told by the hashes that the Hub lists, so only what changed is uploaded. The upload itself is
huggingface_hub's: what an interrupted one had brought over is not sent again.
"""

import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ValidationError

from data_builders.card import CARD, datasets_lines, example, published_card
from data_builders.exporters.previews import markdown, preview_path, previews
from data_builders.manifest import MANIFEST, Manifest
from data_builders.reader import BuiltSamples, sha256
from data_builders.shards import Sidecar
from ssl4rl_core.errors import Ssl4rlError, UsageError, one_line

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.hf_api import RepoFile

# Bytes: that of a build of some hundred thousand shards. Whoever may write there may have put a larger one there.
_LARGEST_MANIFEST = 2**28
# The Hub takes long, and gives up at last, over commits of very many files.
_FILES_A_COMMIT = 1000
_WAIT = 30  # seconds, for the first answer
_LOG_IN = "run 'hf auth login', or set HF_TOKEN to a token that may write"

Report = Callable[[int, int], None]
"""Called with the bytes checked so far, and how many are to be checked before anything is uploaded."""


@dataclass(frozen=True)
class Published:
    """What a push did, or would do."""

    repo: str
    revision: str
    url: str
    dry_run: bool
    uploaded: dict[str, int]
    """Bytes by path in the repository."""
    deleted: list[str]
    """What the manifest there names of an earlier build, and this one does not have."""
    unchanged: int
    """Files that the repository holds already."""
    load: str
    """Two lines of Python that load the first config with datasets."""


@dataclass(frozen=True)
class _Remote:
    """A branch of a repository as it is before the push."""

    exists: bool = False
    private: bool = False
    has_branch: bool = False
    files: "dict[str, RepoFile]" = field(default_factory=dict)

    def holds(self, path: str, sha256: str, data: bytes | None = None) -> bool:
        """Whether `path` there is the file with this hash; `data` where the Hub may keep it in git itself."""
        from huggingface_hub.utils.sha import git_hash

        there = self.files.get(path)
        if there is None:
            return False
        if there.lfs is not None:
            return there.lfs.sha256 == sha256
        return data is not None and there.blob_id == git_hash(data)


class _ShardList(BaseModel):
    """Of a manifest, what is the same in all versions of ssl4rl that describe a shard alike."""

    shards: list[Sidecar]


class _Changes(NamedTuple):
    additions: "list[CommitOperationAdd]"
    deleted: list[str]
    unchanged: int


def push(
    directory: str | Path,
    repo: str,
    *,
    private: bool = False,
    dry_run: bool = False,
    revision: str = "main",
    progress: Report | None = None,
) -> Published:
    """Publish a finished build as the dataset `repo` on the Hub, which is made where there is none.

    Up to a thousand changed shards come in one commit with the card and the manifest, so that readers see all of it or
    nothing; of more, card and manifest come in the last. What the manifest there names (shards, their sidecars and
    previews) and this build does not have is deleted in that commit too, if that manifest describes shards as this
    version of ssl4rl does. Whatever else lies in the repository stays. So do the shards of a push that was interrupted
    before its manifest came and then given up for another build: the card's lines would load them too, so delete them
    by hand.

    Args:
        repo: "user/name", or "organization/name".
        private: make the repository a private one.
        dry_run: only say what would be done: nothing is written to the Hub, and no token is needed.
        revision: the branch, which is made from main where there is none.

    Raises:
        UsageError: the folder holds no build, `repo` is no name, or is public where `private` is wanted.
        Ssl4rlError: the build is not finished or was changed, or the Hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi

    samples = BuiltSamples(directory)
    if not any(total.samples for total in samples.manifest.totals):
        raise UsageError(f"the build in {directory} holds no sample: there is nothing to publish")
    _check_name(repo)
    api = HfApi()
    url = f"{api.endpoint}/datasets/{repo}"
    with _hub_errors(repo, api.endpoint):
        if not dry_run:
            api.whoami()  # before hours of hashing, not after them
        remote = _remote(api, repo, revision)
        earlier = _earlier(api, repo, revision, remote)
    if private and remote.exists and not remote.private:
        raise UsageError(f"{repo} exists and is public: make it private in its settings, or push to a new name")
    changes = _changes(samples, remote, earlier, repo, url, revision, progress)
    if not dry_run and (changes.additions or changes.deleted):
        with _hub_errors(repo, api.endpoint):
            _make(api, repo, revision, remote, private=private)
            _commit(api, repo, revision, changes, _message(samples.manifest))
    return Published(
        repo=repo,
        revision=revision,
        url=url,
        dry_run=dry_run,
        uploaded={addition.path_in_repo: addition.upload_info.size for addition in changes.additions},
        deleted=changes.deleted,
        unchanged=changes.unchanged,
        load=datasets_lines(repo, example(samples.manifest), revision),
    )


def _check_name(repo: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UsageError(f"{repo!r} is no name of a dataset on the Hub: {one_line(error)}") from error
    if "/" not in repo:
        raise UsageError(f"{repo!r} lacks the user or organization: write user/{repo}")


def _remote(api: "HfApi", repo: str, revision: str) -> _Remote:
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.hf_api import RepoFile

    try:
        info = api.dataset_info(repo, timeout=_WAIT)
    except RepositoryNotFoundError:
        return _Remote()
    try:
        tree = list(api.list_repo_tree(repo, recursive=True, revision=revision, repo_type="dataset"))
    except RevisionNotFoundError:
        return _Remote(exists=True, private=bool(info.private))
    return _Remote(True, bool(info.private), True, {entry.path: entry for entry in tree if isinstance(entry, RepoFile)})


def _earlier(api: "HfApi", repo: str, revision: str, remote: _Remote) -> list[Sidecar]:
    """The shards that the manifest there names; none where it is missing, too large, or not one of ours."""
    there = remote.files.get(MANIFEST)
    if there is None or there.size > _LARGEST_MANIFEST:
        return []
    with tempfile.TemporaryDirectory(prefix="ssl4rl-push-") as folder:
        api.hf_hub_download(repo, MANIFEST, repo_type="dataset", revision=revision, local_dir=folder)
        try:
            return _ShardList.model_validate_json((Path(folder) / MANIFEST).read_bytes()).shards
        except ValidationError:
            return []


def _changes(
    samples: BuiltSamples,
    remote: _Remote,
    earlier: list[Sidecar],
    repo: str,
    url: str,
    revision: str,
    progress: Report | None,
) -> _Changes:
    shards = {f"{shard.config}/{shard.shard}.tar": shard for shard in samples.manifest.shards if shard.samples}
    missing = {path: shard for path, shard in shards.items() if not remote.holds(path, shard.sha256)}
    additions = _shard_additions(samples.directory, missing, progress)
    beside = _beside(samples, repo, url, revision)
    additions += _small_additions(beside, remote)
    ours = shards.keys() | beside.keys()
    gone = (shard for shard in earlier if shard != shards.get(f"{shard.config}/{shard.shard}.tar"))
    left = {preview_path(shard.config) for shard in earlier} | {
        path for shard in gone for path in _files(shard, remote)
    }
    deleted = sorted((left & remote.files.keys()) - ours)
    return _Changes(additions, deleted, len(ours) - len(additions))


def _files(shard: Sidecar, remote: _Remote) -> Iterator[str]:
    """A shard's tar, and its sidecar if that is there as we write it: a push brings none, and others may."""
    path = f"{shard.config}/{shard.shard}"
    if shard.samples:
        yield f"{path}.tar"
    text = shard.text().encode()
    if remote.holds(f"{path}.json", hashlib.sha256(text).hexdigest(), text):
        yield f"{path}.json"


def _shard_additions(
    directory: Path, shards: dict[str, Sidecar], progress: Report | None
) -> "list[CommitOperationAdd]":
    """What to add of the shards, each of them found to be what was built."""
    from huggingface_hub import CommitOperationAdd

    in_all, checked = sum(shard.bytes for shard in shards.values()), 0
    additions = []
    for path, shard in shards.items():
        if sha256(directory / path) != shard.sha256:
            raise Ssl4rlError(f"shard {directory / path} is missing or was changed: build again into a new folder")
        additions.append(CommitOperationAdd(path, directory / path))
        # It was hashed just now; unless told, huggingface_hub reads the file once more for that.
        additions[-1].upload_info.sha256 = bytes.fromhex(shard.sha256)
        checked += shard.bytes
        if progress is not None:
            progress(checked, in_all)
    return additions


def _beside(samples: BuiltSamples, repo: str, url: str, revision: str) -> dict[str, bytes]:
    """What is published beside the shards: previews, the manifest, and the card last."""
    shown = previews(samples)
    try:
        manifest = (samples.directory / MANIFEST).read_bytes()
        card = (samples.directory / CARD).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Ssl4rlError(f"cannot read {samples.directory / CARD}: run its 'ssl4rl build' command again") from error
    card = published_card(card, samples.manifest, repo=repo, url=url, revision=revision, samples=markdown(shown))
    pictures = {preview.path: preview.picture for preview in shown if preview.picture}
    return {**pictures, MANIFEST: manifest, CARD: card.encode()}


def _small_additions(files: dict[str, bytes], remote: _Remote) -> "list[CommitOperationAdd]":
    from huggingface_hub import CommitOperationAdd

    additions = {path: CommitOperationAdd(path, data) for path, data in files.items()}
    return [
        addition
        for path, addition in additions.items()
        if not remote.holds(path, addition.upload_info.sha256.hex(), files[path])
    ]


def _make(api: "HfApi", repo: str, revision: str, remote: _Remote, *, private: bool) -> None:
    """The repository and the branch, where they are missing."""
    if not remote.exists:
        # None: as the organization has it by default, which may be private.
        api.create_repo(repo, repo_type="dataset", private=private or None, exist_ok=True)
    if not remote.has_branch and revision != "main":
        api.create_branch(repo, branch=revision, repo_type="dataset", exist_ok=True)


def _commit(api: "HfApi", repo: str, revision: str, changes: _Changes, message: str) -> None:
    """Upload and commit, in as many commits as it takes; what is deleted, and the last additions, in the last."""
    from huggingface_hub import CommitOperationDelete

    starts = range(0, len(changes.additions), _FILES_A_COMMIT) or [0]
    for start in starts:
        operations: list[Any] = changes.additions[start : start + _FILES_A_COMMIT]
        if start == starts[-1]:
            operations += [CommitOperationDelete(path) for path in changes.deleted]
        api.create_commit(repo, operations, commit_message=message, repo_type="dataset", revision=revision)


def _message(manifest: Manifest) -> str:
    samples = sum(total.samples for total in manifest.totals)
    return f"Publish {samples} samples, built by ssl4rl {manifest.plan.ssl4rl}"


@contextlib.contextmanager
def _hub_errors(repo: str, endpoint: str) -> Iterator[None]:
    """Turn what huggingface_hub and its transports raise into one line with the mend, without the token in it."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    token = ""
    try:
        token = get_token() or ""
        yield
    except LocalTokenNotFoundError:
        raise Ssl4rlError(f"no token for {endpoint}: {_LOG_IN}") from None
    except OfflineModeIsEnabled as error:
        raise Ssl4rlError("HF_HUB_OFFLINE is set: unset it to publish") from error
    except Exception as error:  # hf_xet and the HTTP library raise what they like
        # A failed upload is wrapped in an error that says only which file it was.
        root = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
        if isinstance(root, HfHubHTTPError) and (refusal := _refusal(root, repo, endpoint, token)):
            said = refusal
        else:
            failure = _said(root, token) or type(root).__name__
            said = f"publishing to {endpoint} failed: {failure}; check the network and HF_ENDPOINT, then push again"
        # A server's answer may quote what it was sent, so the cause is not shown either, not even with --debug.
        raise Ssl4rlError(said) from None


def _refusal(error: "HfHubHTTPError", repo: str, endpoint: str, token: str) -> str:
    """A refusal of the Hub in words; empty where it is none, as when it is out of order."""
    status = error.response.status_code
    said = _said(error.server_message or "", token)
    if status == 401:
        return f"{endpoint} does not take this token: {_LOG_IN}"
    if status == 403:
        return (
            f"this token may not write to {repo} ({said or 'forbidden'}): {_LOG_IN} there, or push to a name of yours"
        )
    if status == 404:
        return f"{endpoint} has no place for {repo} ({said or 'not found'}): check the user's or organization's name"
    if 400 <= status < 500 and status not in (408, 429):
        return f"{endpoint} refuses the push to {repo}: {said or status}"
    return ""


def _said(error: BaseException | str, token: str = "") -> str:
    """What an error says, in one line and without the token."""
    return one_line(str(error).replace(token, "(token)") if token else error)
