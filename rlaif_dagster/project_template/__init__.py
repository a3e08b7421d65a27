"""The files of a new project; a name that begins with `dot.` becomes a hidden file."""

from pathlib import Path
from typing import Final

TEMPLATE_ROOT: Final = Path(__file__).parent
"""The folder of the files."""
