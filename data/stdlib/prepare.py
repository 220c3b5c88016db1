"""The embedded corpus: the source of the Python standard library of the interpreter that runs this.

About 11 million characters of real text on every machine, without a network. Another Python has
another library, so its numbers differ a little; source_sha256 in meta.json tells corpora apart.

    python data/stdlib/prepare.py
"""

import platform
import sys
import sysconfig
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from reslab.data.prepare_cli import arguments, run_prepare, run_script
from reslab.data.textfiles import read_files

LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}


def source_files() -> list[Path]:
    """The library's .py files in a sorted walk, without tests and installed packages."""
    root = Path(sysconfig.get_path("stdlib"))
    paths = sorted(path.relative_to(root) for path in root.rglob("*.py"))
    return [root / path for path in paths if not LEFT_OUT & set(path.parts) and _is_utf8(root / path)]


def _is_utf8(path: Path) -> bool:
    """A few library files are written in older encodings, on purpose."""
    try:
        path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def main() -> None:
    args = arguments(__doc__, Path(__file__).resolve().parent).parse_args()
    files = source_files()
    source = f"the standard library of Python {platform.python_version()}, {len(files)} files"
    run_prepare(args, lambda: read_files(files), "char", source)


if __name__ == "__main__":
    run_script(main)
