"""Saves images of podman's store: ``save_images.py FOLDER IMAGE...``; tells their names as JSON, a list for each image.

Each goes into the same OCI layout, uncompressed: what images have in common is there once, and what compresses the whole sees
through it. With all their names: the lab finds some by their content key. ``FOLDER.order`` lists the layout's files for tar.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def podman(*arguments: str) -> str:
    """Standard output of one command; its errors are shown as they come."""
    return subprocess.run(["podman", *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout


def order(layout: Path, names: Sequence[str]) -> list[Path]:
    """The layout's files, so that layers which have programs or packages in common come close to one another.

    Layer by layer from each image's last, which has the programs, to its base, which most have; the largest layer, beyond which
    nothing could be seen, at the end.
    """

    def blob(described: dict[str, Any]) -> Path:
        return layout / "blobs" / str(described["digest"]).replace(":", "/")

    manifests = {
        m["annotations"]["org.opencontainers.image.ref.name"]: blob(m)
        for m in json.loads((layout / "index.json").read_text())["manifests"]
    }
    layers = [blob(layer) for name in names for layer in reversed(json.loads(manifests[name].read_text())["layers"])]
    largest = max(layers, key=lambda file: file.stat().st_size)
    last = [file for file in dict.fromkeys(layers) if file != largest] + [largest]
    return sorted({file for file in layout.rglob("*") if file.is_file()} - set(last)) + last


def main() -> None:
    """Save each image once, by its first name."""
    folder, *wanted = sys.argv[1:]
    layout = Path(folder)
    # First the name that was asked for: others may have given it more.
    names = {
        image["Id"]: sorted(image["RepoTags"], key=lambda name: (name not in wanted, name))
        for image in json.loads(podman("image", "inspect", *wanted))
    }
    for first, *_ in names.values():
        # OCI, for podman's other formats hold no zstd layers, which registries may serve.
        podman("save", "--quiet", "--uncompressed", "--format=oci-dir", "--output", folder, first)
    files = order(layout, [first for first, *_ in names.values()])
    Path(f"{folder}.order").write_text("".join(f"{file.relative_to(layout.parent)}\n" for file in files))
    print(json.dumps(sorted(names.values())))


if __name__ == "__main__":
    main()
