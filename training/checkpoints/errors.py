"""The error of everything that reads or writes weights."""

from __future__ import annotations

from collections.abc import Sequence

from tapsdk.errors import TapsdkError


class CheckpointError(TapsdkError, ValueError):
    """A file of weights that cannot be read, or weights that do not fit the model.

    Where parameters are at fault, all of them are listed by name; the message shortens long lists.
    """

    def __init__(
        self,
        message: str,
        *,
        missing: Sequence[str] = (),
        unexpected: Sequence[str] = (),
        wrong_shape: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.missing = tuple(missing)
        """Names of parameters that the model needs and the file lacks."""
        self.unexpected = tuple(unexpected)
        """Names of parameters that the file has and the model does not know."""
        self.wrong_shape = tuple(wrong_shape)
        """Names of parameters, as the file calls them, whose shape is not the model's."""
