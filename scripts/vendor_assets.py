"""Fetch the dashboard's style sheet and icons from the npm registry into `bursary/dashboard/static/vendor/`.

Usage: `python scripts/vendor_assets.py`, after a change of the versions or the icons below; the result is
committed. Needs npm. `VERSIONS.json` beside the files has their versions.
"""

import gzip
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "bursary/dashboard/static/vendor"

TABLER, ICONS = "@tabler/core@1.6.1", "@tabler/icons@3.52.0"
STYLE_SHEET = "dist/css/tabler.min.css"
LICENCE = "LICENSE"  # from the icons: Tabler's package lacks the file, and has the same authors and licence

ICON_NAMES = (
    *("alert-triangle", "bell", "calendar-due", "check", "chevron-down", "chevron-left", "chevron-right"),
    *("chevron-up", "circle-check", "clock", "download", "filter", "home", "hourglass", "info-circle"),
    *("list-details", "mail-off", "player-skip-forward", "plus", "refresh", "school", "search", "wallet"),
    "x",
)


def unpacked(package: str, folder: Path) -> Path:
    """Return the folder of an npm package, downloaded from the registry and unpacked below `folder`."""
    command = ["npm", "pack", "--silent", "--pack-destination", str(folder), package]
    packed = subprocess.run(command, check=True, capture_output=True, text=True)
    archive = folder / packed.stdout.split()[-1]
    with tarfile.open(archive) as tar:
        tar.extractall(folder / archive.stem, filter="data")
    return folder / archive.stem / "package"


def sprite(icons: Path) -> str:
    """Return one SVG with a symbol for each icon, by its name."""
    symbols = []
    for name in sorted(ICON_NAMES):
        drawn = (icons / f"icons/outline/{name}.svg").read_text(encoding="utf-8")
        paths = "".join(re.findall(r"<(?!svg|/svg)[^>]+/>", drawn)).replace(" />", "/>")
        paths = paths.replace('<path stroke="none" d="M0 0h24v24H0z" fill="none"/>', "")
        symbols.append(f'<symbol id="{name}" viewBox="0 0 24 24">{paths}</symbol>')
    return '<svg xmlns="http://www.w3.org/2000/svg">\n' + "\n".join(symbols) + "\n</svg>\n"


def main() -> None:
    """Write the files."""
    shutil.rmtree(TARGET, ignore_errors=True)
    TARGET.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        tabler, icons = unpacked(TABLER, Path(folder)), unpacked(ICONS, Path(folder))
        style_sheet = (tabler / STYLE_SHEET).read_bytes()
        TARGET.joinpath("tabler.min.css").write_bytes(style_sheet)
        # Sent instead of it to browsers that accept gzip: an eighth of the size.
        TARGET.joinpath("tabler.min.css.gz").write_bytes(gzip.compress(style_sheet, mtime=0))
        TARGET.joinpath("icons.svg").write_text(sprite(icons), encoding="utf-8")
        shutil.copy(icons / LICENCE, TARGET / "LICENSE-tabler.txt")
    versions = {
        name: {"version": version, "licence": "MIT", "source": f"https://registry.npmjs.org/{name}"}
        for name, _, version in (package.rpartition("@") for package in (TABLER, ICONS))
    }
    TARGET.joinpath("VERSIONS.json").write_text(json.dumps(versions, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
