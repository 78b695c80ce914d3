"""A throw-away Hub for tests: what huggingface_hub and `datasets` ask of the Hugging Face Hub, answered from memory.

It stores files by LFS, or by Xet where the client has hf_xet: its storage is then a folder that hf_xet itself writes
(`local://`). The clients read HF_ENDPOINT as they are imported, so they run in processes of their own, see `Hub.env`.
"""

import base64
import contextlib
import hashlib
import http.server
import json
import os
import re
import struct
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TOKEN = "hf_" + "aB3" * 11
READ_TOKEN = "hf_" + "rD7" * 11


@dataclass(frozen=True)
class File:
    """A file of a commit; `sha256` is set where it is stored by LFS or Xet."""

    data: bytes | None
    size: int
    oid: str
    sha256: str | None = None


@dataclass
class Repo:
    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, File]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pulls: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def find(self, revision: str) -> str | None:
        number = re.fullmatch(r"refs/pr/(\d+)", revision)
        if number and int(number[1]) <= len(self.pulls):
            return self.pulls[int(number[1]) - 1]
        return (
            self.branches.get(revision) or self.tags.get(revision) or (revision if revision in self.commits else None)
        )

    def files(self, revision: str = "main") -> dict[str, File]:
        return self.commits[self.find(revision) or ""]

    def commit(self, revision: str, files: dict[str, File], message: str) -> str:
        listing = [f"{len(self.commits)} {message}", *(f"{path} {file.oid}" for path, file in sorted(files.items()))]
        sha = hashlib.sha1("\n".join(listing).encode()).hexdigest()
        self.commits[sha] = files
        self.messages.append(message)
        number = re.fullmatch(r"refs/pr/(\d+)", revision)
        if number:
            self.pulls[int(number[1]) - 1] = sha
        else:
            self.branches[revision] = sha
        return sha


@dataclass
class Fault:
    """What the server does in place of answering requests whose `METHOD /path` matches.

    `status` 0 closes the connection, None gives the true answer; `stall` waits so many seconds first; `cut` sends half.
    """

    pattern: str
    status: int | None = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    stall: float = 0.0
    cut: bool = False
    times: int = 1_000_000
    after: int = 0


class Hub:
    """The server and what it holds; `with Hub(folder) as hub` starts it."""

    def __init__(self, folder: Path, xet: bool = False, page: int = 1000) -> None:
        self.cas, self.xet, self.page = folder / "cas", xet, page
        self.cas.mkdir(parents=True)
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.authorizations: set[str] = set()
        self.lock = threading.RLock()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "Hub":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def env(self, home: Path, token: str | None = None, **more: str) -> dict[str, str]:
        """The environment of a process that takes this for the Hub."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        environ |= {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
        environ |= {"HF_HUB_DISABLE_XET": "0" if self.xet else "1", "NO_PROXY": "127.0.0.1,localhost"}
        return environ | ({"HF_TOKEN": token} if token else {}) | more

    def count(self, pattern: str) -> int:
        """How many requests so far match."""
        return sum(bool(re.search(pattern, request)) for request in self.requests)

    def xet_hashes(self) -> dict[str, str]:
        """sha256 -> Xet hash of all files that hf_xet has stored, from its shards."""
        found: dict[str, str] = {}
        for path in self.cas.glob("**/*.mdb"):
            with contextlib.suppress(OSError, struct.error):
                found |= _read_xet_shard(path.read_bytes())
        return found


def _hex(digest: bytes) -> str:
    """A hash as Xet writes it: four little-endian numbers."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", digest))


def _read_xet_shard(data: bytes) -> dict[str, str]:
    found, at = {}, 48
    while data[at : at + 32] != b"\xff" * 32:
        digest, flags, entries = data[at : at + 32], *struct.unpack_from("<2I", data, at + 32)
        at += 48 * (1 + entries * (2 if flags & 1 << 31 else 1))
        if flags & 1 << 30:
            found[_hex(data[at : at + 32])] = _hex(digest)
            at += 48
    return found


def _git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _entry(path: str, file: File, xet: dict[str, str]) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": file.size, "oid": file.oid}
    if file.sha256:
        entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": 130}
        if file.sha256 in xet:
            entry["xetHash"] = xet[file.sha256]
    return entry


class _Answer(Exception):
    def __init__(self, status: int, body: Any = None, **headers: str) -> None:
        self.status, self.headers = status, {name.replace("_", "-"): value for name, value in headers.items()}
        self.body = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()


def _not_found(code: str) -> _Answer:
    return _Answer(404, {"error": code}, X_Error_Code=code)


def _handler(hub: Hub) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(_Handler):
        pass

    Handler.hub = hub
    return Handler


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def _answer(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        path = parts.path
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b"".join(self._chunks())
        request = f"{self.command} {path}"
        with self.hub.lock:
            self.hub.requests.append(request)
            self.hub.authorizations.add(self.headers.get("Authorization") or "")
            fault = self._fault(request)
        try:
            if fault and fault.stall:
                time.sleep(fault.stall)
            if fault and fault.status == 0:
                self.close_connection = True
                self.connection.close()
                return
            if fault and fault.status is not None:
                raise _Answer(fault.status, fault.body, **fault.headers)
            with self.hub.lock:
                self._route(path, body)
            raise _not_found("EntryNotFound")
        except _Answer as answer:
            with contextlib.suppress(OSError):
                self._send(answer, fault is not None and fault.cut)

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().strip() or b"0", 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _fault(self, request: str) -> Fault | None:
        for fault in self.hub.faults:
            if re.search(fault.pattern, request):
                if fault.after:
                    fault.after -= 1
                    return None
                if fault.times:
                    fault.times -= 1
                    return fault
        return None

    def _send(self, answer: _Answer, half: bool) -> None:
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        if "Content-Length" not in answer.headers:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[: len(answer.body) // 2] if half else answer.body)
        if half:
            self.close_connection = True

    def _route(self, path: str, body: bytes) -> None:
        if path.startswith("/cdn/"):
            self._blob(path.removeprefix("/cdn/").split("/")[0], body)
        if path == "/api/validate-yaml":
            self._validate(json.loads(body)["content"])
        if path == "/api/repos/create":
            self._create(json.loads(body))
        if match := re.fullmatch(r"/datasets/([^/]+/[^/]+)\.git/info/lfs/(.*)", path):
            self._lfs(self._repo(match[1], write=True), body)
        if match := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            repo = self._repo(match[1])
            self._resolve(match[1], repo, *map(urllib.parse.unquote, match.groups()[1:]))
        if match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)((?:/.*)?)", path):
            self._api(match[1], match[2].lstrip("/").split("/"), body)

    def _repo(self, name: str, write: bool = False) -> Repo:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token and token not in (TOKEN, READ_TOKEN):
            raise _Answer(401, {"error": "Invalid credentials in Authorization header"})
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and not token):
            raise _Answer(401, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        if write and token != TOKEN:
            message = "you do not have the right to write here"
            raise _Answer(403 if token else 401, {"error": message}, X_Error_Message=message)
        return repo

    def _validate(self, content: str) -> None:
        """The rules of the Hub that our cards could break."""
        import yaml

        head = yaml.safe_load(content.split("---\n")[1]) if content.startswith("---\n") else {}
        errors = [] if not head or head.get("license") != "other" or head.get("license_name") else ["license_name"]
        warnings = [] if head else [{"message": "empty or missing yaml metadata in repo card"}]
        answer = {"errors": [{"message": f'"{name}" is required'} for name in errors], "warnings": warnings}
        raise _Answer(400 if errors else 200, answer)

    def _create(self, asked: dict[str, Any]) -> None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token != TOKEN:
            message = "You don't have the rights to create a dataset under this namespace"
            raise _Answer(403 if token else 401, {"error": message}, X_Error_Message=message)
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        if name in self.hub.repos:
            raise _Answer(409, {"error": "You already created this dataset repo", "url": f"{self.hub.endpoint}/{name}"})
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.repos[name] = repo = Repo(private)
        repo.commit("main", {".gitattributes": _regular(b"*.parquet filter=lfs\n")}, "initial commit")
        raise _Answer(200, {"url": f"{self.hub.endpoint}/datasets/{name}", "name": name, "id": name})

    def _lfs(self, repo: Repo, body: bytes) -> None:
        asked = json.loads(body)
        objects = []
        for each in asked.get("objects", []):
            actions = {} if each["oid"] in self.hub.blobs else {"upload": {"href": self._cdn(each["oid"])}}
            objects.append({**each, **({"actions": actions} if actions else {})})
        raise _Answer(200, {"transfer": "basic", "objects": objects})

    def _cdn(self, oid: str) -> str:
        return f"http://localhost:{self.hub.port}/cdn/{oid}"

    def _blob(self, oid: str, body: bytes) -> None:
        if self.command == "PUT":
            if hashlib.sha256(body).hexdigest() != oid:
                raise _Answer(400, {"error": "content is not its hash"})
            self.hub.blobs[oid] = body
            raise _Answer(200)
        self._bytes(self.hub.blobs[oid], {"ETag": f'"{oid}"'})

    def _bytes(self, data: bytes, headers: dict[str, str]) -> None:
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range") or "")
        headers = {**headers, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if not asked:
            raise _Answer(200, data, **headers)
        start = int(asked[1]) if asked[1] else max(len(data) - int(asked[2]), 0)
        stop = min(int(asked[2]) + 1 if asked[1] and asked[2] else len(data), len(data))
        if start >= len(data):
            raise _Answer(416, b"", **headers, **{"Content-Range": f"bytes */{len(data)}"})
        raise _Answer(206, data[start:stop], **headers, **{"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"})

    def _resolve(self, name: str, repo: Repo, revision: str, path: str) -> None:
        if repo.gated and not self.headers.get("Authorization"):
            raise _Answer(403, {"error": "gated"}, X_Error_Code="GatedRepo")
        sha = repo.find(revision)
        if sha is None:
            raise _not_found("RevisionNotFound")
        file = repo.commits[sha].get(path)
        if file is None:
            raise _Answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound", X_Repo_Commit=sha)
        headers = {"X-Repo-Commit": sha, "ETag": f'"{file.oid}"'}
        if file.sha256 is None:
            self._bytes(file.data or b"", headers)
        headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
        xet = self.hub.xet_hashes().get(file.sha256 or "")
        if xet:
            route = f"{self.hub.endpoint}/api/datasets/{name}/xet-read-token/{sha}"
            headers |= {"X-Xet-Hash": xet, "X-Xet-Refresh-Route": route, "Link": f'<{route}>; rel="xet-auth"'}
        raise _Answer(302, b"", **headers, Location=self._cdn(file.sha256 or ""))

    def _api(self, name: str, parts: list[str], body: bytes) -> None:
        what, rest = parts[0], [urllib.parse.unquote(part) for part in parts[1:]]
        repo = self._repo(name, write=what in ("commit", "tag", "preupload", "xet-write-token"))
        if what == "refs":
            raise _Answer(200, self._refs(repo))
        if what == "discussions":
            self._discussions(name, repo, rest, body)
        if what == "preupload":
            raise _Answer(200, {"files": [self._preupload(repo, rest[0], each) for each in json.loads(body)["files"]]})
        if what.startswith("xet-"):
            token, expires = f"xet-{what}", str(int(time.time()) + 3600)
            url = f"local://{self.hub.cas}"
            headers = {"X-Xet-Cas-Url": url, "X-Xet-Access-Token": token, "X-Xet-Token-Expiration": expires}
            raise _Answer(200, {"casUrl": url, "accessToken": token, "exp": int(expires)}, **headers)
        revision = rest[0] if what in ("revision", "tree", "commit", "tag") and rest else "main"
        sha = repo.find(revision)
        if sha is None:
            raise _not_found("RevisionNotFound")
        if what == "tree":
            self._tree(repo.commits[sha], "/".join(rest[1:]))
        if what == "tag":
            self._tag(repo, sha, json.loads(body)["tag"])
        if what == "commit":
            self._commit(name, repo, revision, sha, body)
        if what in ("", "revision"):
            siblings = [{"rfilename": path} for path in sorted(repo.commits[sha])]
            about = {"id": name, "sha": sha, "private": repo.private, "gated": repo.gated, "siblings": siblings}
            raise _Answer(200, {**about, "tags": [], "downloads": 0, "likes": 0})

    def _refs(self, repo: Repo) -> dict[str, Any]:
        def listed(refs: dict[str, str], prefix: str) -> list[dict[str, str]]:
            return [{"name": name, "ref": prefix + name, "targetCommit": sha} for name, sha in refs.items()]

        pulls = {str(number): sha for number, sha in enumerate(repo.pulls, 1)}
        both = {"branches": listed(repo.branches, "refs/heads/"), "tags": listed(repo.tags, "refs/tags/")}
        return {**both, "converts": [], "pullRequests": listed(pulls, "refs/pr/")}

    def _discussions(self, name: str, repo: Repo, rest: list[str], body: bytes) -> None:
        if not rest:
            repo.pulls.append(repo.branches["main"])
            number = len(repo.pulls)
            raise _Answer(200, {"num": number, "pullRequest": True, "url": f"/datasets/{name}/discussions/{number}"})
        number = int(rest[0])
        if rest[1:] == ["merge"]:
            repo.branches["main"] = repo.pulls[number - 1]
            raise _Answer(200)
        about = {"num": number, "title": "", "status": "draft", "author": {"name": "me"}, "isPullRequest": True}
        changes = {"base": "refs/heads/main", "mergeCommitId": None}
        about |= {"createdAt": "2026-01-01T00:00:00.000Z", "events": [], "changes": changes, "diff": ""}
        raise _Answer(200, about)

    def _preupload(self, repo: Repo, revision: str, asked: dict[str, Any]) -> dict[str, Any]:
        sha = repo.find(revision)
        file = repo.commits[sha].get(asked["path"]) if sha else None
        mode = "lfs" if asked["path"].endswith((".parquet", ".webp", ".png")) else "regular"
        found = {"path": asked["path"], "uploadMode": mode, "shouldIgnore": False}
        return {**found, **({"oid": file.sha256 or file.oid} if file else {})}

    def _tree(self, files: dict[str, File], under: str) -> None:
        prefix = f"{under}/" if under else ""
        xet = self.hub.xet_hashes()
        here = {path: file for path, file in files.items() if path.startswith(prefix)}
        if under and not here:
            raise _not_found("EntryNotFound")
        folders = {prefix + path[len(prefix) :].split("/")[0] for path in here if "/" in path[len(prefix) :]}
        recursive = self.query.get("recursive", "").lower() in ("true", "1")
        entries: list[dict[str, Any]] = [{"type": "directory", "path": p, "size": 0, "oid": "0" * 40} for p in folders]
        entries += [_entry(p, file, xet) for p, file in here.items() if recursive or "/" not in p[len(prefix) :]]
        entries.sort(key=lambda entry: str(entry["path"]))
        start = int(self.query.get("cursor", 0))
        page, headers = entries[start : start + self.hub.page], {}
        if start + self.hub.page < len(entries):
            query = urllib.parse.urlencode({**self.query, "cursor": start + self.hub.page})
            headers["Link"] = f'<{self.hub.endpoint}{urllib.parse.urlsplit(self.path).path}?{query}>; rel="next"'
        raise _Answer(200, json.dumps(page).encode(), **headers)

    def _tag(self, repo: Repo, sha: str, tag: str) -> None:
        if self.command == "DELETE":
            repo.tags.pop(tag)
        elif tag in repo.tags:
            raise _Answer(409, {"error": "Tag reference exists already"})
        else:
            repo.tags[tag] = sha
        raise _Answer(200)

    def _commit(self, name: str, repo: Repo, revision: str, sha: str, body: bytes) -> None:
        files, message = dict(repo.commits[sha]), ""
        xet = self.hub.xet_hashes()
        for line in body.decode().splitlines():
            each = json.loads(line)
            value = each["value"]
            if each["key"] == "header":
                message = value["summary"]
            elif each["key"] == "file":
                files[value["path"]] = _regular(base64.b64decode(value["content"]))
            elif each["key"] == "lfsFile":
                oid = value["oid"]
                if oid not in self.hub.blobs and oid not in xet:
                    raise _Answer(400, {"error": f"lfs object {oid} was not uploaded"})
                size = len(self.hub.blobs[oid]) if oid in self.hub.blobs else value["size"]
                files[value["path"]] = File(None, size, _git_sha1(oid.encode()), oid)
            elif each["key"] == "deletedFile":
                files.pop(value["path"], None)
        if "create_pr" in self.query:
            repo.pulls.append(sha)
            revision = f"refs/pr/{len(repo.pulls)}"
        oid = repo.commit(revision, files, message)
        url = f"{self.hub.endpoint}/datasets/{name}"
        pull = f"{url}/discussions/{len(repo.pulls)}" if "create_pr" in self.query else None
        raise _Answer(200, {"commitOid": oid, "commitUrl": f"{url}/commit/{oid}", "pullRequestUrl": pull})


def _regular(data: bytes) -> File:
    return File(data, len(data), _git_sha1(data))
