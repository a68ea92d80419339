"""Say in one line what the present Python lacks; nothing that may be missing is imported.

usage: python -m bench.needs
"""

import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parent.parent
TESTS = ("pytest", "hypothesis")


def lacking(asked: list[str]) -> tuple[list[str], list[str]]:
    """Return the requirements that are not there, and those that are in another version."""
    missing, others = [], []
    for line in asked:
        name = re.split(r"[<>=]", line)[0]
        try:
            found = version(name)
        except PackageNotFoundError:
            missing.append(line)
            continue
        for sign, bound in re.findall(r"(>=|<)([\d.]+)", line):
            if (_numbers(found) >= _numbers(bound)) != (sign == ">="):
                others.append(f"{name} {found} ({line})")
    return missing, others


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text.partition("+")[0])[:3])


def main() -> None:
    """Print the lines; the exit code says whether anything is missing."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["train"], *TESTS]
    missing, others = lacking(asked)
    if others:
        sys.stdout.write(f"other than pyproject asks, tried all the same: {', '.join(others)}\n")
    if missing:
        raise SystemExit(
            f"missing: {', '.join(missing)}: install them, or put their wheels into .whl (WHEELS)"
        )


if __name__ == "__main__":
    main()
