"""Includes follow the arrows between the rooms; what a room may not depend on, it does not name.

    app -> model -> kernels -> base        app -> audio -> base        tests -> anything
"""

import pathlib
import re
import sys

MAY_INCLUDE = {
    "base": {"base"},
    "kernels": {"kernels", "base"},
    "model": {"model", "kernels", "base"},
    "audio": {"audio", "base"},
    "app": {"app", "model", "kernels", "audio", "base"},
}
# Libraries that libhiss must not need: base, kernels and model stay free of them.
FOREIGN = {"sndfile.h", "portaudio.h", "fftw3.h", "soxr.h", "cairo.h", "ncurses.h"}
LIBRARY_ROOMS = {"base", "kernels", "model"}
INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)')


def offences(root):
    for room, allowed in MAY_INCLUDE.items():
        for path in sorted((root / room).rglob("*")):
            if path.suffix not in {".c", ".h", ".cu", ".cuh"}:
                continue
            for number, line in enumerate(path.read_text().splitlines(), 1):
                found = INCLUDE.match(line)
                if not found:
                    continue
                ours, system = found.groups()
                where = f"{path.relative_to(root)}:{number}"
                if ours and ours.split("/")[0] not in allowed:
                    yield f"{where}: {room} may not include {ours}"
                if system in FOREIGN and room in LIBRARY_ROOMS:
                    yield f"{where}: {room} may not need {system}"


def main():
    root = pathlib.Path(sys.argv[1])
    missing = [room for room in MAY_INCLUDE if not (root / room).is_dir()]
    bad = [f"there is no room {room}" for room in missing] + list(offences(root))
    print("\n".join(bad) or "all includes follow the arrows")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
