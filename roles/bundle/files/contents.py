"""Lists what a bundle holds, in CycloneDX: ``contents.py FOLDER``; the list is ``FOLDER/bom.json``.

Sources: the wheels' and Debian packages' own descriptions, what Go has written into its programs, the images' package
databases, and the locks of what is built into images.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from email.parser import HeaderParser
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL


def library(kind: str, name: str, version: str, file: Path | None = None, **more: str) -> Component:
    """One component, by its package URL; with the digest of the file that it is in the bundle as."""
    namespace, _, last = name.rpartition("/")
    url = PackageURL(kind, namespace or None, last, version, more or None)
    hashes = []
    if file:
        with open(file, "rb") as opened:
            hashes = [HashType(alg=HashAlgorithm.SHA_256, content=hashlib.file_digest(opened, "sha256").hexdigest())]
    group = namespace or None
    return Component(
        type=ComponentType.LIBRARY, group=group, name=last, version=version, purl=url, bom_ref=str(url), hashes=hashes
    )


def wheels(folder: Path) -> Iterable[Component]:
    """Python packages, by their files' names."""
    for file in sorted(folder.iterdir()):
        found = re.match(r"(?P<name>.+?)-(?P<version>\d[^-]*?)(-.*\.whl|\.tar\.gz)$", file.name)
        if found:
            yield library("pypi", found["name"].lower().replace("_", "-"), found["version"], file)


def debs(folder: Path, release: str) -> Iterable[Component]:
    """Debian packages, by the index that lies beside them."""
    for stanza in stanzas((folder / "Packages").read_text()):
        yield deb(stanza, release, folder / stanza["Filename"])


def stanzas(text: str) -> Iterable[dict[str, str]]:
    """The fields of Debian's control files."""
    for part in text.split("\n\n"):
        if part.strip():
            yield dict(HeaderParser().parsestr(part).items())


def deb(stanza: dict[str, str], release: str, file: Path | None = None) -> Component:
    """One Debian package."""
    return library("deb", f"debian/{stanza['Package']}", stanza["Version"], file, arch=stanza["Architecture"], distro=release)


def in_image(name: str) -> Iterable[Component]:
    """An image, and the Debian packages in it."""
    identity = subprocess.run(
        ["podman", "image", "inspect", "--format", "{{.Id}}", name], capture_output=True, text=True, check=True
    ).stdout.strip()
    repository, _, tag = name.rpartition(":")
    yield Component(
        type=ComponentType.CONTAINER, name=repository, version=tag, bom_ref=name,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=identity)],
    )  # fmt: skip
    root = Path(subprocess.run(["podman", "image", "mount", name], capture_output=True, text=True, check=True).stdout.strip())
    try:
        database, about = root / "var/lib/dpkg/status", root / "etc/os-release"
        if database.is_file() and about.is_file():
            release_fields = dict(line.partition("=")[::2] for line in about.read_text().splitlines())
            release = f"debian-{release_fields.get('VERSION_ID', release_fields.get('VERSION_CODENAME', '')).strip(chr(34))}"
            yield from (deb(s, release) for s in stanzas(database.read_text()) if s["Status"].endswith(" installed"))
    finally:
        subprocess.run(["podman", "image", "unmount", name], capture_output=True, check=True)


def compiled(folders: list[str], go: str) -> Iterable[Component]:
    """Go's modules, as they stand in the programs."""
    listing = subprocess.run([go, "version", "-m", *folders], capture_output=True, text=True, check=True).stdout
    for line in listing.splitlines():
        match line.split():
            case ["mod" | "dep" | "=>", name, version, *_] if version.startswith("v"):
                yield library("golang", name, version)
    for version in set(re.findall(r": (go\S+)$", listing, re.MULTILINE)):
        yield library("golang", "std", version.removeprefix("go"))


def locked(file: Path) -> Iterable[Component]:
    """Python packages of a lock."""
    for name, version in re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", file.read_text(), re.MULTILINE):
        yield library("pypi", name, version)


def npm(file: Path) -> Iterable[Component]:
    """Packages of npm's lock."""
    for path, about in json.loads(file.read_text())["packages"].items():
        if path:
            name = path.rpartition("node_modules/")[2]
            yield library("npm", name, about["version"])


def main() -> None:
    """Write the list, once for each component."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--binaries", type=json.loads, required=True, help="folders of programs")
    parser.add_argument("--go", required=True)
    parser.add_argument("--lock", type=Path, required=True)
    parser.add_argument("--npm", type=Path, action="append", required=True)
    parser.add_argument("--jars", type=json.loads, required=True)
    parser.add_argument("--images", type=json.loads, required=True)
    parser.add_argument("--inner", type=json.loads, required=True, help="images that the node's image holds")
    options = parser.parse_args()
    found = [
        *wheels(options.folder / "wheels"), *debs(options.folder / "debs", "debian-12"),
        *compiled(options.binaries, options.go),
        *locked(options.lock), *(c for lock in options.npm for c in npm(lock)),
        *(library("maven", name, version) for name, version in options.jars.items()),
        *(c for names in options.images for c in in_image(names[0])), *(c for name in options.inner for c in in_image(name)),
    ]  # fmt: skip
    # What is in the bundle as a file of its own comes first, and has its digest.
    bom = Bom(components={c.bom_ref.value: c for c in reversed(found)}.values())
    make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_to_file(
        str(options.folder / "bom.json"), allow_overwrite=True, indent=1
    )
    print(f"{len(bom.components)} components", file=sys.stderr)


if __name__ == "__main__":
    main()
