"""Where commands look for packages: `python -m` puts the folder that the user is in before all that is installed."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def ignore_working_folder(home: Path) -> None:
    """From now on imports look in `home`, where our packages lie, then where they did, but not in the working folder:
    what has the names of our packages there, or of theirs, is the user's own."""
    here = os.path.realpath(os.curdir)
    sys.path[:] = [str(home), *(entry for entry in sys.path if entry and os.path.realpath(entry) != here)]
