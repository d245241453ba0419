"""Who may see the page, and who may not."""

import pytest

from tapsdk.live.guard import LOCAL, Guard


@pytest.mark.parametrize("host", LOCAL)
def test_this_machine_needs_no_token(host):
    guard = Guard(host, 8000)
    assert (guard.token, guard.root) == ("", "/")
    assert guard.inner("/live.js") == "live.js"
    assert guard.url in ("http://127.0.0.1:8000/", "http://localhost:8000/", "http://[::1]:8000/")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "camera.example"])
def test_any_other_address_wants_a_token_that_nobody_guesses(host):
    guard, other = Guard(host, 8000), Guard(host, 8000)
    assert len(guard.token) >= 24
    assert guard.token != other.token
    assert guard.url.endswith(f":8000/{guard.token}/")
    assert guard.inner(f"/{guard.token}/live.js") == "live.js"
    for path in (
        "/",
        "/live.js",
        "/socket",
        f"/{other.token}/",
        f"/{guard.token}x/",
        f"/{guard.token[:-1]}/",
        "/\udce9/",
    ):
        assert guard.inner(path) is None


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "LOCALHOST:8000", "[::1]:8000"])
def test_names_of_this_machine(host):
    assert Guard("127.0.0.1", 8000).is_ours(host)


@pytest.mark.parametrize(
    "host",
    [None, "", "evil.example", "evil.example:8000", "127.0.0.1", "127.0.0.1:8001", "localhost.evil.example:8000"],
)
def test_other_names_are_not_of_this_machine(host):
    assert not Guard("127.0.0.1", 8000).is_ours(host)


@pytest.mark.parametrize(
    "origin, is_ours",
    [
        (None, True),  # no page at all
        ("http://127.0.0.1:8000", True),
        ("https://127.0.0.1:8000", True),
        ("http://127.0.0.1:8001", False),
        ("http://evil.example", False),
        ("http://evil.example:8000", False),
        ("http://127.0.0.1:8000.evil.example", False),
        ("file://", False),
        ("null", False),
        ("", False),
    ],
)
def test_pages_of_others_get_no_socket(origin, is_ours):
    assert Guard("127.0.0.1", 8000).is_same_origin(origin, "127.0.0.1:8000") == is_ours
