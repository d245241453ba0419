"""python -m tapsdk"""

import sys

from tapsdk.commands.main import main

sys.exit(main())
