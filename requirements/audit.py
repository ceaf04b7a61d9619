"""Looks for known vulnerabilities and unsuitable licences in what is locked: `make audit`.

Exit status: 0, every requirement was asked about, and nothing is wrong. 1, something is: a finding
that audit.toml does not accept, an entry there that is over or has no finding any more, a licence.
3, nothing is wrong as far as could be asked, and that is not far enough: no source answered for
some requirements. Who may go on then, as CI does, can tell it from the others.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
SERVICES = ("pypi", "osv")
"""Sources of advisories, as pip-audit names them; the second is asked where the first is silent."""

SHIPPED = ("api", "worker", "explainer", "trainer", "local")
"""The sets whose licences are looked at; the tools of development are given to nobody."""

FOUND, NOT_ASKED = 1, 3

_USAGE = 2
_TIMEOUT_SECONDS = "15"
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==", re.MULTILINE)
_COPYLEFT = re.compile(r"(?<!L)(?<!Lesser )(AGPL|GPL|General Public License|SSPL)")


@dataclass
class Asked:
    """What the sources of advisories said of requirements, each as `NAME==VERSION`."""

    answered: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    findings: dict[str, dict[str, str]] = field(default_factory=dict)
    """By the id of the advisory: package, its other ids, and the versions that mend it."""


def ask(files: Iterable[Path], services: Iterable[str], osv_url: str | None) -> Asked:
    """Ask one source after the other, until one has answered for every requirement."""
    asked = Asked()
    for service in services:
        said = _run(files, service, osv_url)
        for dependency in said:
            _take(asked, dependency)
        asked.silent -= asked.answered
        if said and not asked.silent:
            break
    return asked


def _run(files: Iterable[Path], service: str, osv_url: str | None) -> list[dict[str, Any]]:
    """What pip-audit reports; nothing where its source cannot be reached at all."""
    command = [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip"]
    command += ["--progress-spinner=off", "--format=json", f"--vulnerability-service={service}"]
    command += [f"--timeout={_TIMEOUT_SECONDS}", *(f"--requirement={file}" for file in files)]
    command += [f"--osv-url={osv_url}"] if osv_url else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode == _USAGE:  # a fault of this script must not pass for a silent source
        raise RuntimeError(done.stderr)
    try:
        said: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        print(f"{service}: could not be asked: {reason}")  # noqa: T201
        return []
    return said


def _take(asked: Asked, dependency: dict[str, Any]) -> None:
    if "skip_reason" in dependency:
        asked.silent.add(dependency["name"])
        return
    asked.answered |= {dependency["name"]}
    for found in dependency["vulns"]:
        asked.findings[found["id"]] = {
            "package": f"{dependency['name']}=={dependency['version']}",
            "also": " ".join(found["aliases"]),
            "mended": ", ".join(found["fix_versions"]) or "nowhere yet",
        }


def faults(asked: Asked, accepted: list[dict[str, Any]], today: dt.date) -> Iterator[str]:
    """What must be done something about: findings, and entries that no longer hold."""
    ids = {entry["id"]: entry for entry in accepted}
    for found, about in asked.findings.items():
        if not {found, *about["also"].split()} & ids.keys():
            yield f"{about['package']}: {found} {about['also']}; mended in {about['mended']}"
    for each, entry in ids.items():
        if entry["expires"] < today:
            yield f"audit.toml: {each} was accepted until {entry['expires']}: decide anew"
        known = {
            name for found, a in asked.findings.items() for name in (found, *a["also"].split())
        }
        if each not in known and entry["package"] in asked.answered:
            yield f"audit.toml: {each} is no finding any more: remove it"


def licence_faults(files: Iterable[Path], stated: dict[str, str]) -> Iterator[str]:
    """Requirements that ask more of who passes them on than MIT can give, or do not say."""
    names = {name for file in files for name in _PINNED.findall(file.read_text())}
    for name in sorted(names):
        licence = stated.get(name) or licence_of(name)
        if licence is None:
            yield f"{name}: it states no licence; look it up for audit.toml"
        elif _COPYLEFT.search(licence) and " OR " not in licence:
            yield f"{name}: its licence is {licence}"


def licence_of(name: str) -> str | None:
    """The licence that an installed package states; None: none, or the package is not here."""
    try:
        metadata = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    classifiers = metadata.get_all("Classifier") or []
    of_classifiers = "; ".join(c.split(" :: ")[-1] for c in classifiers if c.startswith("License"))
    text = metadata.get("License-Expression") or of_classifiers or metadata.get("License")
    return str(text) if text else None


def main(arguments: list[str] | None = None) -> int:
    """Audit, and say what was found; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, help="lock files; all, where none is named")
    parser.add_argument("--accepted", type=Path, default=FOLDER / "audit.toml")
    parser.add_argument("--service", action="append", choices=SERVICES)
    parser.add_argument("--osv-url", help="a mirror of OSV")
    options = parser.parse_args(arguments)
    rules = tomllib.loads(options.accepted.read_text())
    files = options.files or sorted(FOLDER.glob("*.txt"))
    asked = ask(files, options.service or SERVICES, options.osv_url)
    today = dt.datetime.now(dt.UTC).date()
    wrong = list(faults(asked, rules.get("accepted", []), today))
    shipped = [FOLDER / f"{name}.txt" for name in SHIPPED]
    wrong += licence_faults(shipped, rules.get("licences", {}))
    return _tell(asked, wrong)


def _tell(asked: Asked, wrong: list[str]) -> int:
    for line in wrong:
        print(line)  # noqa: T201
    print(f"{len(asked.answered)} requirements were asked about; {len(wrong)} faults.")  # noqa: T201
    if wrong:
        return FOUND
    if asked.silent or not asked.answered:
        count = len(asked.silent) or "all"
        print(f"COULD NOT ASK about {count} requirements: this is no clean bill.")  # noqa: T201
        return NOT_ASKED
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
