"""A small Hub on 127.0.0.1 that really stores datasets: as much of its HTTP interface as publishing and loading need.

Large files come by git-lfs's batch protocol, in one piece or in parts, as the Hub takes them from clients without xet.
Reached through HF_ENDPOINT. Routes and answers after https://huggingface.co/docs/hub/api and
https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md.
"""

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from tests.hub_store import Repo, Store, Tree, listing

TOKEN, USER = "hf_" + "secretsecretsecret", "user"
PART = 40_000
"""Bytes: what is larger is uploaded in parts of this size."""
PAGE = 7
"""Entries a page of a listing."""


class HubServer(ThreadingHTTPServer):
    """The server; `requests` is what it was asked, `uploads` the hashes of the large files that came in whole."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.store = Store(folder)
        self.requests: list[tuple[str, str]] = []
        self.uploads: list[str] = []
        self.before_upload: Callable[[], None] = lambda: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def writes(self) -> list[tuple[str, str]]:
        """The requests so far that ask to change what is stored."""
        return [
            (method, path)
            for method, path in self.requests
            if method not in ("GET", "HEAD") and "validate-yaml" not in path
        ]


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[HubServer]:
    """A server over an empty folder, until the block ends."""
    server = HubServer(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


_NAME, _REV, _OID = r"(?P<name>[\w.-]+/[\w.-]+)", r"(?P<rev>[^/]+)", r"(?P<oid>[0-9a-f]{64})"
_ROUTES = {
    r"GET /api/whoami-v2": "whoami",
    r"POST /api/validate-yaml": "validate_yaml",
    r"POST /api/repos/create": "create",
    rf"GET /api/datasets/{_NAME}(/revision/{_REV})?": "info",
    rf"GET /api/datasets/{_NAME}/tree/{_REV}(/(?P<path>.*))?": "tree",
    rf"POST /api/datasets/{_NAME}/branch/{_REV}": "branch",
    rf"POST /api/datasets/{_NAME}/preupload/{_REV}": "preupload",
    rf"POST /api/datasets/{_NAME}/commit/{_REV}": "commit",
    rf"POST /datasets/{_NAME}.git/info/lfs/objects/batch": "batch",
    rf"PUT /lfs/{_OID}": "put",
    rf"PUT /lfs/{_OID}/(?P<part>[0-9]+)": "put_part",
    rf"POST /lfs/{_OID}/complete": "complete",
    rf"POST /lfs/{_OID}/verify": "verify",
    rf"(GET|HEAD) /datasets/{_NAME}/resolve/{_REV}/(?P<path>.+)": "resolve",
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.body = self._read_body()
        self.server.requests.append((self.command, path))
        try:
            for route, name in _ROUTES.items():
                if matched := re.fullmatch(route, f"{self.command} {path}"):
                    getattr(self, name)(**{key: value for key, value in matched.groupdict().items() if value})
                    return
            raise _Refused(404, "no such page")
        except _Refused as refused:
            headers = {"X-Error-Message": refused.message, "X-Error-Code": refused.code}
            self._answer({"error": refused.message}, headers, refused.status)

    do_POST = do_PUT = do_HEAD = do_GET

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: pytest's output is for failures."""

    # Accounts and repositories

    def whoami(self) -> None:
        self._check_token()
        self._answer({"name": USER, "type": "user", "auth": {"type": "access_token"}})

    def validate_yaml(self) -> None:
        given = yaml.safe_load(json.loads(self.body)["content"].split("---\n")[1])
        if given.get("license", "unknown") != given.get("license", "unknown").lower():
            raise _Refused(400, "license must be one of the list")
        self._answer({"errors": [], "warnings": []})

    def create(self) -> None:
        asked = json.loads(self.body)
        self._check_token()
        if asked["organization"] != USER:
            given = self.headers["Authorization"]
            raise _Refused(403, f"You don't have the rights to create a dataset here; you sent {given}")
        name = f"{USER}/{asked['name']}"
        if name in self.server.store.repos:
            raise _Refused(409, "You already created this dataset repo")
        repo = Repo(private=asked.get("visibility") == "private" or bool(asked.get("private")))
        repo.commit("main", {".gitattributes": self.server.store.regular(b"*.tar filter=lfs\n*.jpg filter=lfs\n")})
        self.server.store.repos[name] = repo
        self._answer({"url": f"{self.server.url}/datasets/{name}", "name": name, "id": name})

    def branch(self, name: str, rev: str) -> None:
        repo = self._repo(name, write=True)
        repo.branches[rev] = repo.branches["main"]
        self._answer({})

    def info(self, name: str, rev: str = "main") -> None:
        repo = self._repo(name)
        sha, tree = self._tree(repo, rev)
        siblings = [{"rfilename": path} for path in sorted(tree)]
        self._answer({"id": name, "sha": sha, "private": repo.private, "tags": [], "siblings": siblings})

    def tree(self, name: str, rev: str, path: str = "") -> None:
        query = parse_qs(urlsplit(self.path).query)
        recursive = query.get("recursive", ["false"])[0].lower()
        entries = listing(self._tree(self._repo(name), rev)[1], path, recursive == "true")
        if path and not entries:
            raise _Refused(404, "no such path", "EntryNotFound")
        start, headers = int(query.get("cursor", ["0"])[0]), {}
        if start + PAGE < len(entries):
            following = f"{urlsplit(self.path).path}?recursive={recursive}&cursor={start + PAGE}"
            headers["Link"] = f'<{self.server.url}{following}>; rel="next"'
        self._answer(entries[start : start + PAGE], headers)

    # Writing

    def preupload(self, name: str, rev: str) -> None:
        tree = self._tree(self._repo(name, write=True), rev)[1]
        modes = {file["path"]: re.search(r"\.(tar|jpg)$", file["path"]) for file in json.loads(self.body)["files"]}
        known = {path: tree[path].sha256 if tree[path].lfs else tree[path].git for path in modes if path in tree}
        files = [
            {"path": path, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False, "oid": known.get(path)}
            for path, lfs in modes.items()
        ]
        self._answer({"files": files})

    def batch(self, name: str) -> None:
        self._repo(name, write=True)
        objects = [self._action(**each) for each in json.loads(self.body)["objects"]]
        self._answer({"transfer": "multipart", "objects": objects})

    def _action(self, oid: str, size: int) -> dict[str, Any]:
        if self.server.store.path(oid).exists():
            return {"oid": oid, "size": size}
        at = f"{self.server.url}/lfs/{oid}"
        upload: dict[str, Any] = {"href": at}
        if size > PART:
            parts = {str(number): f"{at}/{number}" for number in range(1, -(-size // PART) + 1)}
            upload = {"href": f"{at}/complete", "header": {"chunk_size": str(PART), **parts}}
        return {"oid": oid, "size": size, "actions": {"upload": upload, "verify": {"href": f"{at}/verify"}}}

    def put(self, oid: str) -> None:
        self.server.before_upload()
        self._keep(oid, self.body)

    def put_part(self, oid: str, part: str) -> None:
        self.server.before_upload()
        (self.server.store.folder / f"{oid}.{int(part):06d}").write_bytes(self.body)
        self._answer({}, {"ETag": f'"{hashlib.md5(self.body).hexdigest()}"'})

    def complete(self, oid: str) -> None:
        parts = sorted(self.server.store.folder.glob(f"{oid}.*"))
        if len(parts) != len(json.loads(self.body)["parts"]):
            raise _Refused(400, "parts are missing")
        self._keep(oid, b"".join(part.read_bytes() for part in parts))

    def _keep(self, oid: str, data: bytes) -> None:
        if hashlib.sha256(data).hexdigest() != oid:
            raise _Refused(400, "the hash does not match")
        self.server.store.keep(data)
        self.server.uploads.append(oid)
        self._answer({})

    def verify(self, oid: str) -> None:
        if self.server.store.path(oid).stat().st_size != json.loads(self.body)["size"]:
            raise _Refused(400, "another size")
        self._answer({})

    def commit(self, name: str, rev: str) -> None:
        repo, store = self._repo(name, write=True), self.server.store
        with store.lock:
            tree = dict(self._tree(repo, rev)[1])
            for line in self.body.splitlines():
                match json.loads(line):
                    case {"key": "file", "value": {"path": path, "content": content}}:
                        tree[path] = store.regular(base64.b64decode(content))
                    case {"key": "lfsFile", "value": {"path": path, "oid": oid, "size": size}}:
                        if not store.path(oid).exists():
                            raise _Refused(400, f"{path} points to a file that was not uploaded")
                        tree[path] = store.large(oid, size)
                    case {"key": "deletedFile", "value": {"path": path}}:
                        del tree[path]
            sha = repo.commit(rev, tree)
        self._answer({"commitUrl": f"{self.server.url}/datasets/{name}/commit/{sha}", "commitOid": sha})

    # Reading

    def resolve(self, name: str, rev: str, path: str) -> None:
        sha, tree = self._tree(self._repo(name), rev)
        if path not in tree:
            raise _Refused(404, "Entry not found", "EntryNotFound")
        data, status = self.server.store.path(tree[path].sha256).read_bytes(), 200
        etag = tree[path].sha256 if tree[path].lfs else tree[path].git
        headers = {"X-Repo-Commit": sha, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        if ranged := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(ranged[1]), min(int(ranged[2] or len(data)), len(data) - 1)
            headers["Content-Range"], status = f"bytes {first}-{last}/{len(data)}", 206
            data = data[first : last + 1]
        self._send(data, headers, status)

    # What all of them use

    def _check_token(self) -> None:
        given = self.headers.get("Authorization", "")
        if not given:
            raise _Refused(401, "Invalid username or password.", "RepoNotFound")
        if given != f"Bearer {TOKEN}":
            # A server that repeats what it was sent, here and in `create`: it must not reach the user's screen.
            raise _Refused(401, f"Invalid credentials in Authorization header: {given}")

    def _repo(self, name: str, *, write: bool = False) -> Repo:
        repo = self.server.store.repos.get(name)
        if write or repo is None or repo.private or self.headers.get("Authorization"):
            self._check_token()
        if repo is None:
            raise _Refused(404, "Repository not found", "RepoNotFound")
        return repo

    def _tree(self, repo: Repo, rev: str) -> tuple[str, Tree]:
        sha = repo.branches.get(rev, rev)
        if sha not in repo.trees:
            raise _Refused(404, f"Invalid rev id: {rev}", "RevisionNotFound")
        return sha, repo.trees[sha]

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def _answer(self, body: Any, headers: dict[str, str] | None = None, status: int = 200) -> None:
        self._send(json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})}, status)

    def _send(self, data: bytes, headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
