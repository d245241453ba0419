"""python -m tapsdk"""

import sys
from pathlib import Path

from tapsdk.system.imports import ignore_working_folder

ignore_working_folder(Path(__file__).parents[1])  # before anything else is imported, which the folder may have, too

from tapsdk.commands.main import main  # noqa: E402

sys.exit(main())
