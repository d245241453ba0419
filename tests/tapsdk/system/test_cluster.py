"""The way to Ray: what is said where there is none. What is done on a cluster is tested where it is asked for."""

import sys

import pytest

from tapsdk.errors import BackendError, TapsdkError
from tapsdk.system.cluster import cluster, own_errors
from tests.support import import_or_skip


@pytest.mark.parametrize("on", ["", "spark", "ray:", "ray://", "rays://head"])
def test_other_places_are_refused(on):
    with (
        pytest.raises(TapsdkError, match=r"unknown place to work on .*: give 'ray', or a cluster's ray://HOST:PORT"),
        cluster(on),
    ):
        pass


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(TapsdkError, match=r"pip install 'tapsdk\[ray\]'"), cluster("ray"):
        pass


@pytest.mark.parametrize("on", ["ray://127.0.0.1:1", "ray://127.0.0.1:port"])
def test_a_cluster_that_is_not_there_is_named(on):
    import_or_skip("ray", "ray")
    with pytest.raises(TapsdkError, match=f"no Ray was reached at {on}: "), cluster(on):
        pass


def test_what_fails_there_is_an_error_of_tapsdk():
    exceptions = import_or_skip("ray", "ray").exceptions
    for cause, expected in ((BackendError("no engine"), "^no engine$"), (KeyError("a"), "a machine of the cluster")):
        with pytest.raises(TapsdkError, match=expected), own_errors(sys.modules["ray"]):
            raise exceptions.RayTaskError("task", "traceback", cause)
    with pytest.raises(TapsdkError, match="Ray could not do it"), own_errors(sys.modules["ray"]):
        raise exceptions.RaySystemError("full")
