import base64
import hashlib
import json
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tapsdk.artifact import download as download_module
from tapsdk.artifact.fetch import cached, fetch, next_step
from tapsdk.artifact.http import Answer
from tapsdk.artifact.registry import OFFICIAL
from tapsdk.errors import FetchError, ModelError

MODEL = "tapir/base"
CONTENT = bytes(range(256)) * 4000
OTHER = CONTENT[::-1]
HALF = len(CONTENT) // 2


@dataclass
class Site:
    """A web server with one file, and everything that can be wrong with one."""

    content: bytes = CONTENT
    etag: str | None = '"one"'
    ranges: bool = True
    honours_if_range: bool = True
    statuses: list[int] = field(default_factory=list)
    """Answers to the first requests, before the file is served."""
    breaks_after: list[int] = field(default_factory=list)
    """Bytes of the body after which the connection of each request ends; the later ones get all."""
    announced: int | None = None
    """A length that is not the file's."""
    headers: dict[str, str] = field(default_factory=dict)
    range_shift: int = 0
    """By how much the parts that are sent are not the ones that were asked for."""
    redirects: dict[str, str] = field(default_factory=dict)
    started: threading.Event | None = None
    released: threading.Event | None = None
    requests: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests.append({**handler.headers})
        if handler.path in self.redirects:
            return self._plain(handler, 302, {"Location": self.redirects[handler.path]})
        if self.statuses:
            return self._plain(handler, self.statuses.pop(0), {})
        start = self._start(handler)
        if start and start >= len(self.content):
            return self._plain(handler, 416, {})
        self._file(handler, start)

    def _start(self, handler: BaseHTTPRequestHandler) -> int:
        match = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        condition = handler.headers.get("If-Range")
        if not match or not self.ranges:
            return 0
        if self.honours_if_range and condition is not None and condition != self.etag:
            return 0
        return int(match[1])

    def _plain(self, handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str]) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()

    def _file(self, handler: BaseHTTPRequestHandler, start: int) -> None:
        body = self.content[start:]
        handler.send_response(206 if start else 200)
        if start:
            first, last = start + self.range_shift, len(self.content) - 1
            handler.send_header("Content-Range", f"bytes {first}-{last}/{len(self.content)}")
        if self.etag is not None:
            handler.send_header("ETag", self.etag)
        for name, value in self.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body) if self.announced is None else self.announced - start))
        handler.end_headers()
        if self.started is not None and self.released is not None:
            self.started.set()
            self.released.wait(30)
        handler.wfile.write(body[: self.breaks_after.pop(0)] if self.breaks_after else body)
        handler.close_connection = True


@pytest.fixture
def site(monkeypatch):
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            try:
                site.answer(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site.url = f"http://127.0.0.1:{server.server_port}/weights.npy"
    monkeypatch.setattr(download_module, "BACKOFF_SECONDS", (0.0, 0.0, 0.0))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield site
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def get(site, tmp_path):
    """Fetches the site's file into tmp_path."""
    return lambda **more: fetch(MODEL, **{"directory": tmp_path, "url": site.url, **more})


@pytest.fixture
def give_up(monkeypatch):
    """The first failure is the last."""
    monkeypatch.setattr(download_module, "BACKOFF_SECONDS", ())


def visible(folder):
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def sha256(content):
    return hashlib.sha256(content).hexdigest()


# What fetching does


def test_the_file_arrives_and_is_pinned(get, tmp_path):
    path = get()
    assert path == tmp_path / "weights.npy"
    assert path.read_bytes() == CONTENT
    pin = json.loads((tmp_path / "tapir-base.pin.json").read_text())
    assert (pin["model"], pin["bytes"], pin["sha256"]) == (MODEL, len(CONTENT), sha256(CONTENT))
    assert visible(tmp_path) == ["tapir-base.pin.json", "weights.npy"]


def test_what_is_at_hand_is_not_fetched_again(get, site):
    first = get()
    assert get() == first
    assert fetch(MODEL, directory=first.parent) == first
    assert len(site.requests) == 1


def test_the_cache_is_where_the_environment_says(get, site, tmp_path, monkeypatch):
    monkeypatch.setenv("TAPSDK_CACHE", str(tmp_path / "cache"))
    assert cached(MODEL) is None
    path = get(directory=None)
    assert path.is_relative_to(tmp_path / "cache")
    assert cached(MODEL) == path
    assert cached("tapir/boots") is None


def test_another_file_of_the_model_takes_the_place_of_the_first(get, site, tmp_path):
    get()
    site.content = OTHER
    path = get(url=site.url.replace(".npy", ".pt"))
    assert path.name == "weights.pt"
    assert cached(MODEL, directory=tmp_path) == path


def test_redirects_are_followed(get, site):
    site.redirects["/moved.npy"] = site.url
    assert get(url=site.url.replace("weights", "moved")).read_bytes() == CONTENT


def test_a_bar_shows_on_terminals_only(get, capfd):
    get(progress=True)
    assert capfd.readouterr() == ("", "")


def test_two_processes_at_once_fetch_once(site, tmp_path):
    site.started, site.released = threading.Event(), threading.Event()
    code = (
        "import sys; from tapsdk.artifact.fetch import fetch; print('ready', flush=True);"
        "print(fetch('tapir/base', directory=sys.argv[1], url=sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path), site.url]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.stdout.readline() for process in both] == ["ready\n"] * 2
    assert site.started.wait(60)
    time.sleep(0.3)  # for the second one to come as far as the lock
    site.released.set()
    outputs = [process.communicate(timeout=60)[0].strip() for process in both]
    assert outputs == [str(tmp_path / "weights.npy")] * 2
    assert (tmp_path / "weights.npy").read_bytes() == CONTENT
    assert len(site.requests) == 1


def test_next_step_names_the_commands():
    assert "tapsdk get tapir/base" in next_step("tapir/base")
    assert "tapsdk track" in next_step("tapir/base")
    assert "tapsdk get" not in next_step("trajan/base")


# Connections that break off


def test_a_broken_connection_is_taken_up_where_it_broke(get, site):
    site.breaks_after = [HALF, 1000]
    assert get().read_bytes() == CONTENT
    ranges = [request.get("Range") for request in site.requests]
    assert ranges == [None, f"bytes={HALF}-", f"bytes={HALF + 1000}-"]
    assert [request.get("If-Range") for request in site.requests] == [None, '"one"', '"one"']


def test_progress_is_kept_for_the_next_call(get, site, give_up, tmp_path):
    site.breaks_after = [HALF]
    with pytest.raises(FetchError, match=f"broke off after {HALF} of {len(CONTENT)} bytes.*try again"):
        get()
    assert not (tmp_path / "weights.npy").exists()
    assert cached(MODEL, directory=tmp_path) is None
    assert get().read_bytes() == CONTENT
    assert site.requests[-1]["Range"] == f"bytes={HALF}-"
    assert visible(tmp_path) == ["tapir-base.pin.json", "weights.npy"]


def test_ctrl_c_keeps_progress(get, site, monkeypatch):
    real, parts = Answer.read, []

    def interrupted(answer):
        if len(parts) == 2:
            raise KeyboardInterrupt
        parts.append(real(answer))
        return parts[-1]

    with monkeypatch.context() as patch:
        patch.setattr(Answer, "read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            get()
    assert get().read_bytes() == CONTENT
    assert site.requests[-1]["Range"] == f"bytes={sum(map(len, parts))}-"


def test_a_server_without_ranges_starts_over(get, site):
    site.ranges, site.breaks_after = False, [HALF]
    assert get().read_bytes() == CONTENT
    assert len(site.requests) == 2


@pytest.mark.parametrize("honours_if_range", [True, False])
def test_a_file_that_changed_meanwhile_starts_over(get, site, give_up, monkeypatch, honours_if_range):
    site.breaks_after, site.honours_if_range = [HALF], honours_if_range
    with pytest.raises(FetchError):
        get()
    site.content, site.etag = OTHER, '"two"'
    monkeypatch.setattr(download_module, "BACKOFF_SECONDS", (0.0,))
    assert get().read_bytes() == OTHER


def test_a_file_that_became_shorter_starts_over(get, site, give_up, monkeypatch):
    site.breaks_after = [HALF]
    with pytest.raises(FetchError):
        get()
    site.content, site.honours_if_range = CONTENT[:1000], False
    monkeypatch.setattr(download_module, "BACKOFF_SECONDS", (0.0,))
    assert get().read_bytes() == CONTENT[:1000]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_a_part_that_cannot_be_told_from_another_file_is_not_kept(get, site, give_up, etag):
    site.breaks_after, site.etag = [HALF], etag
    with pytest.raises(FetchError):
        get()
    assert get().read_bytes() == CONTENT
    assert "Range" not in site.requests[-1]


def test_another_part_than_was_asked_for_is_refused(get, site):
    site.breaks_after, site.range_shift = [HALF], 5
    assert get().read_bytes() == CONTENT
    assert len(site.requests) == 3


def test_a_connection_that_always_breaks_is_given_up(get, site):
    site.breaks_after = [0] * 100
    with pytest.raises(FetchError, match="check the network"):
        get()
    assert len(site.requests) == 1 + len(download_module.BACKOFF_SECONDS)


def test_no_server_is_an_error(tmp_path, site):
    with pytest.raises(FetchError, match=r"no connection to 127\.0\.0\.1:9"):
        fetch(MODEL, directory=tmp_path, url="http://127.0.0.1:9/weights.npy")


# Servers that say something else than they send


def test_a_length_that_is_too_long_is_an_error(get, site, tmp_path):
    site.announced = len(CONTENT) + 10
    with pytest.raises(FetchError, match=f"after {len(CONTENT)} of {len(CONTENT) + 10} bytes"):
        get()
    assert not (tmp_path / "weights.npy").exists()


def test_a_length_that_is_too_short_shows_in_the_checksum(get, site, tmp_path):
    md5 = base64.b64encode(hashlib.md5(CONTENT).digest()).decode()
    site.announced, site.headers["x-goog-hash"] = len(CONTENT) - 10, f"crc32c=AAAAAA==,md5={md5}"
    with pytest.raises(FetchError, match="arrived damaged"):
        get()
    assert visible(tmp_path) == []
    site.announced = None
    assert get().read_bytes() == CONTENT


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><p>Log in", b"\n<html><p>Log in"])
def test_a_web_page_is_not_a_checkpoint(get, site, tmp_path, page):
    site.content = page
    with pytest.raises(FetchError, match="web page"):
        get()
    assert visible(tmp_path) == []


def test_an_empty_file_is_not_a_checkpoint(get, site, tmp_path):
    site.content = b""
    with pytest.raises(FetchError, match="empty"):
        get()


@pytest.mark.parametrize("status", [401, 403, 404, 410, 416])
def test_a_refusal_is_final(get, site, status):
    site.statuses = [status]
    with pytest.raises(FetchError, match=f"answered {status}"):
        get()
    assert len(site.requests) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_passing_failure_is_tried_again(get, site, status):
    site.statuses = [status, status]
    assert get().read_bytes() == CONTENT


def test_a_lasting_failure_is_an_error(get, site):
    site.statuses = [500] * 100
    with pytest.raises(FetchError, match="answered 500"):
        get()


def test_a_circle_of_redirects_is_an_error(get, site):
    site.redirects["/weights.npy"] = site.url
    with pytest.raises(FetchError, match="answered 302"):
        get()


# Files that are not the ones that were fetched


def test_a_changed_file_on_the_server_is_refused_until_its_pin_is_deleted(get, site, tmp_path):
    get().unlink()
    site.content, site.etag = OTHER, '"two"'
    with pytest.raises(FetchError) as caught:
        get()
    message, pin = str(caught.value), tmp_path / "tapir-base.pin.json"
    assert sha256(CONTENT) in message and sha256(OTHER) in message and str(pin) in message
    assert visible(tmp_path) == ["tapir-base.pin.json"]
    pin.unlink()
    assert get().read_bytes() == OTHER


@pytest.mark.parametrize("content", [OTHER, CONTENT[:-1], b""])
def test_a_changed_file_on_the_disk_is_an_error_until_it_is_fetched_again(get, tmp_path, content):
    path = get()
    path.write_bytes(content)
    with pytest.raises(FetchError, match=r"pinned .* found was|pinned .* found were") as caught:
        cached(MODEL, directory=tmp_path)
    assert "tapsdk fetch tapir/base" in str(caught.value)
    assert get().read_bytes() == CONTENT
    assert cached(MODEL, directory=tmp_path) == path


def test_a_file_without_a_pin_does_not_count(get, site, tmp_path):
    (tmp_path / "weights.npy").write_bytes(OTHER)
    assert cached(MODEL, directory=tmp_path) is None
    assert get().read_bytes() == CONTENT


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"model": 1}', '{"file": "../../x"}', '{"a":' * 100_000, "9" * 10_000, '"\\u001b[31m"']
)
def test_a_damaged_pin_is_an_error(get, tmp_path, text):
    get()
    (tmp_path / "tapir-base.pin.json").write_text(text)
    with pytest.raises(FetchError, match="delete it"):
        cached(MODEL, directory=tmp_path)


@pytest.mark.parametrize(
    "changed",
    [
        {"file": "../../x"},
        {"file": ".."},
        {"file": "a\0"},
        {"file": ["weights.npy"]},
        {"bytes": -1},
        {"bytes": 1e400},
        {"bytes": True},
        {"sha256": None},
        {"sha256": "0" * 63},
        {"fetched": "\x1b[31m"},
        {"url": 3},
        {"more": 1},
    ],
    ids=str,
)
def test_a_pin_with_another_value_is_an_error(get, tmp_path, changed):
    get()
    path = tmp_path / "tapir-base.pin.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    with pytest.raises(FetchError, match="delete it"):
        cached(MODEL, directory=tmp_path)


# Requests that make no sense


@pytest.mark.parametrize("model", ["tapir/huge", "", "tapir", "tapir/tiny"])
def test_a_model_without_official_files_is_an_error(model, tmp_path):
    for call in (fetch, cached):
        with pytest.raises(ModelError):
            call(model, directory=tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        *("file:///etc/passwd", "ftp://127.0.0.1/a.npy", "weights.npy", "http://", "http://[/a", "https://x/"),
        *("http:///a.npy", "http://x:99999999/a.npy", "http://x/\x1b[31m.npy", "http://x\n/a.npy"),
        *("http://x/..", "http://x/a%2f..", "http://x/a%00.npy", "http://x/%1b[31m.npy", "http://x/a%5cb.npy"),
        *(
            "http://x/.npy",
            "http://x/a.part",
            "http://x/tapir-base.pin.json",
            "http://x/C:a.npy",
            "http://x/a%e2%80%ae.npy",
        ),
        "http://x/" + "a" * 300,
    ],
)
def test_an_address_that_is_none_is_an_error(url, tmp_path):
    with pytest.raises(FetchError):
        fetch(MODEL, directory=tmp_path, url=url)
    assert visible(tmp_path) == []


def test_a_full_disk_is_an_error_before_the_download(get, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": len(CONTENT) - 1})
    monkeypatch.setattr(download_module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(FetchError, match="make room"):
        get()


def test_a_folder_that_is_none_is_an_error(get, tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(FetchError, match="cannot keep files"):
            get(directory=folder)


def test_official_addresses_are_asked_for(tmp_path, monkeypatch):
    asked = []

    def download(url, path, **_):
        asked.append(url)
        path.write_bytes(CONTENT)

    monkeypatch.setattr("tapsdk.artifact.fetch.download", download)
    for name, official in OFFICIAL.items():
        path = fetch(name, directory=tmp_path / name)
        assert path.name == official.addresses[0].rpartition("/")[2]
    assert asked == [official.addresses[0] for official in OFFICIAL.values()]
