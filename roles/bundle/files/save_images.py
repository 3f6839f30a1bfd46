"""Saves images of podman's store: ``save_images.py FOLDER IMAGE...``; tells their names as JSON, a list for each image.

Each goes into the same OCI layout, uncompressed: what images have in common is there once, and what compresses the whole sees
through it. With all their names: the lab finds some by their content key.
"""

from __future__ import annotations

import json
import subprocess
import sys


def podman(*arguments: str) -> str:
    """Standard output of one command; its errors are shown as they come."""
    return subprocess.run(["podman", *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout


def main() -> None:
    """Save each image once, by its first name."""
    folder, *wanted = sys.argv[1:]
    # The official name first, where there is one.
    names = {
        image["Id"]: sorted(image["RepoTags"], key=lambda name: (name.startswith("localhost/"), name))
        for image in json.loads(podman("image", "inspect", *wanted))
    }
    for first, *_ in names.values():
        # OCI, for podman's other formats hold no zstd layers, which registries may serve.
        podman("save", "--quiet", "--uncompressed", "--format=oci-dir", "--output", folder, first)
    print(json.dumps(sorted(names.values())))


if __name__ == "__main__":
    main()
