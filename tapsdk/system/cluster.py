"""Ray, which runs work on many machines: how one gets to it. It is imported when it is asked for."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tapsdk.errors import TapsdkError
from tapsdk.system.machine import cores
from tapsdk.system.memory import free_memory
from tapsdk.system.reading import reason

RAY, CLIENT = "ray", "ray://"
HEAD = {"node:__internal_head__": 0.001}
"""What Ray calls the place of a cluster's head, and as little of it as it counts."""
LOG_LEVEL = "RAY_BACKEND_LOG_LEVEL"
"""Environment variable with what Ray's own processes write to stderr, read when they are started."""
CLIENT_PORT = 10001
PATIENCE = 20.0
"""Seconds until a head must have answered."""
STORE_BYTES = 1 << 28
"""Most that a Ray of one's own keeps in shared memory: what goes through it here is small."""


def check_address(on: str) -> None:
    """Raises TapsdkError for what is neither "ray" nor a cluster's "ray://HOST:PORT"."""
    if on != RAY and not (on.startswith(CLIENT) and on.removeprefix(CLIENT)):
        raise TapsdkError(f"unknown place to work on {on!r}: give {RAY!r}, or a cluster's {CLIENT}HOST:PORT")


@contextmanager
def cluster(on: str) -> Iterator[Any]:
    """The module `ray`, connected. What was connected before stays so.

    on: "ray": the cluster that RAY_ADDRESS names or that this machine belongs to, else Ray on this machine alone, for
        as long as it takes; "ray://HOST:PORT": that cluster, by way of its head's client server.
    Raises TapsdkError without the package, and where there is no such cluster.
    """
    check_address(on)
    try:
        import ray
    except ImportError as error:
        raise TapsdkError(f"Ray is not installed ({error}): pip install 'tapsdk[ray]'") from None
    if ray.is_initialized():
        yield ray
        return
    try:
        _connect(ray, on)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise TapsdkError(f"no Ray was reached at {on}: {reason(error)}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _connect(ray: Any, on: str) -> None:
    level = os.environ.get(LOG_LEVEL)
    os.environ[LOG_LEVEL] = level or "fatal"  # what fails is an exception
    try:
        _start(ray, on)
    finally:
        if level is None:
            del os.environ[LOG_LEVEL]


def _start(ray: Any, on: str) -> None:
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    if on != RAY:
        host, _, port = on.removeprefix(CLIENT).partition(":")
        socket.create_connection((host, int(port or CLIENT_PORT)), PATIENCE).close()  # Ray itself says less, and later
        ray.init(on, **quiet)
        return
    try:
        ray.init(os.environ.get("RAY_ADDRESS") or "auto", **quiet)
    except ConnectionError:
        if os.environ.get("RAY_ADDRESS"):
            raise
        own = min(STORE_BYTES, (free_memory() or STORE_BYTES) // 4)
        ray.init(num_cpus=cores(), object_store_memory=own, include_dashboard=False, **quiet)


@contextmanager
def own_errors(ray: Any) -> Iterator[None]:
    """Within it, what Ray raises of work that it did elsewhere is what that raised, if it is an error of tapsdk; else a
    TapsdkError."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, TapsdkError):
            raise cause from None
        raise TapsdkError(f"a machine of the cluster cannot do it: {type(cause).__name__}: {reason(cause)}") from error
    except ray.exceptions.RayError as error:
        raise TapsdkError(f"Ray could not do it: {reason(error)}") from error


def rows_of(ray: Any, make: Callable[..., Any], *args: Any) -> Iterator[dict[str, Any]]:
    """Rows of a dataset of Ray Data, which `make(ray.data, *args)` gives, as they come.

    Ray Data does not work by way of a client: then the dataset is one of an actor on the cluster's head.
    """
    if not ray.util.client.ray.is_connected():
        yield from Rows(make, args).rows
        return
    head = ray.remote(num_cpus=0, resources=HEAD)(Rows).remote(make, args)
    while (row := ray.get(head.next.remote())) is not None:
        yield row


class Rows:
    """Of a dataset, one by one."""

    def __init__(self, make: Callable[..., Any], args: Sequence[Any]) -> None:
        import ray.data

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what fails is an exception
        self.rows: Iterator[dict[str, Any]] = iter(make(ray.data, *args).iter_rows())

    def next(self) -> dict[str, Any] | None:
        """None at the end."""
        return next(self.rows, None)
