"""The bundle's format: writing, reading and refusing it; and the sources of its component list."""

from __future__ import annotations

import json
import platform
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.unit import programs
from tests.unit.test_inputs import PROJECT

# Like the interpreter for a script: its own folder comes first.
sys.path.insert(0, str(PROJECT / "roles/bundle/files"))
FORMAT = programs.load("roles/bundle/files/bundle_format.py")
WRITER, READER = programs.load("roles/bundle/files/write_bundle.py"), programs.load("roles/bundle/files/unbundle.py")
CONTENTS = programs.load("roles/bundle/files/contents.py")
MACHINE = programs.load("roles/bundle/files/check_machine.py")
IMAGES = programs.load("roles/bundle/files/save_images.py")


def about() -> dict[str, Any]:
    release = platform.freedesktop_os_release()
    return {"architecture": platform.machine(), "release": f"{release['ID']} {release['VERSION_ID']}", "made": "2026-01-01"}


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    folder = tmp_path / "parts"
    (folder / "project/roles/x/files").mkdir(parents=True)
    (folder / "project/roles/x/files/a").write_text("a")
    (folder / "project/README.md").write_text("read me")
    return folder


def test_a_bundle_is_written_and_read_back(parts: Path, tmp_path: Path) -> None:
    file = tmp_path / "one.bundle"
    header = WRITER.write(parts, file, about())
    assert READER.head(file) == header
    READER.check(file, header)
    READER.extract(file, tmp_path / "out")
    sums = FORMAT.digests((tmp_path / "out/SHA256SUMS").read_text())
    assert set(sums) == {"about.json", "project/README.md", "project/roles/x/files/a"}
    assert all(FORMAT.digest(tmp_path / "out" / name) == digest for name, digest in sums.items())
    # The rest of the file is a plain tar.
    with open(file, "rb") as opened:
        opened.seek(FORMAT.HEADER_BYTES)
        with tarfile.open(fileobj=opened, mode="r|") as tar:
            assert {(m.uid, m.mtime) for m in tar} == {(0, 0)}
    assert not list(tmp_path.glob("*.partial"))


def test_an_invalid_header_is_ignored() -> None:
    head = FORMAT.header({"made": "today"})
    assert len(head) == FORMAT.HEADER_BYTES
    assert FORMAT.fields_of(head)["made"] == "today"
    for other in (b"", b"PK", b"[1]", head.replace(b"istio-lab", b"other-lab"), head.replace(b'"format": 1', b'"format": 2')):
        assert FORMAT.fields_of(other) is None


def test_a_changed_byte_is_detected(parts: Path, tmp_path: Path) -> None:
    file = tmp_path / "one.bundle"
    header = WRITER.write(parts, file, about())
    whole = file.read_bytes()
    for at in (FORMAT.HEADER_BYTES, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(SystemExit, match=r"^BUNDLE: .* it was changed or damaged; copy it again; nothing was changed$"):
            READER.check(file, header)


def test_another_state_of_the_project_is_detected_where_it_matters(parts: Path, tmp_path: Path) -> None:
    sums = FORMAT.digests(FORMAT.sums(parts))
    here = tmp_path / "here"
    (here / "roles/x/files").mkdir(parents=True)
    (here / "roles/x/files/a").write_text("a")
    (here / "README.md").write_text("another")
    assert READER.differing(sums, here) == []
    (here / "roles/x/files/b").write_text("b")
    assert READER.differing(sums, here) == ["roles/x/files/b"]
    (here / "roles/x/files/b").unlink()
    (here / "roles/x/files/a").write_text("other")
    assert READER.differing(sums, here) == ["roles/x/files/a"]
    (here / "roles/x/files/a").unlink()
    assert READER.differing(sums, here) == ["roles/x/files/a"]


def test_a_header_that_does_not_fit_is_not_written() -> None:
    with pytest.raises(ValueError, match="the header has"):
        FORMAT.header({"made": "x" * 600})


def test_contents_are_read_from_what_describes_them(tmp_path: Path) -> None:
    (tmp_path / "ansible_core-2.19.0-py3-none-any.whl").write_text("")
    (tmp_path / "alibabacloud-tea-0.4.3.tar.gz").write_text("")
    assert [str(c.purl) for c in CONTENTS.wheels(tmp_path)] == [
        "pkg:pypi/alibabacloud-tea@0.4.3",
        "pkg:pypi/ansible-core@2.19.0",
    ]
    (tmp_path / "Packages").write_text("Package: zstd\nVersion: 1.5\nArchitecture: amd64\nFilename: ./z.deb\n\n")
    (tmp_path / "z.deb").write_text("")
    (deb,) = CONTENTS.debs(tmp_path, "debian-12")
    assert str(deb.purl) == "pkg:deb/debian/zstd@1.5?arch=amd64&distro=debian-12"
    assert [h.content for h in deb.hashes] == ["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]
    lock = tmp_path / "lock.json"
    lock.write_text(
        json.dumps({"packages": {"": {}, "node_modules/a": {"version": "1"}, "node_modules/@b/c": {"version": "2"}}})
    )
    assert [str(c.purl) for c in CONTENTS.npm(lock)] == ["pkg:npm/a@1", "pkg:npm/%40b/c@2"]


def test_programs_for_another_machine_are_recognized(tmp_path: Path) -> None:
    here, other = ("x86_64", "aarch64") if platform.machine() == "x86_64" else ("aarch64", "x86_64")
    for name in ("a program", "a\nname"):
        shutil.copy(sys.executable, tmp_path / name)
    (tmp_path / "script").write_text("#!/bin/sh\n")
    (tmp_path / "script").chmod(0o755)
    (tmp_path / "data").write_text("no program")
    found = MACHINE.programs(tmp_path)
    assert {file.name for file in found} == {"a program", "a\nname", "script"}
    assert MACHINE.made_for_others(found, here) == []
    assert sorted(line.split(": ELF")[0] for line in MACHINE.made_for_others(found, other)) == [
        str(tmp_path / "a\nname"),
        str(tmp_path / "a program"),
    ]
    assert MACHINE.made_for_others([], other) == []


def test_a_program_that_does_not_run_is_reported_with_its_output(tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("#!/bin/sh\necho 'cannot execute' >&2; exit 8\n")
    (tmp_path / "broken").chmod(0o755)
    assert MACHINE.version(tmp_path / "broken") == "FAILED with 8: cannot execute"
    (tmp_path / "broken").write_text("#!/bin/sh\necho one; echo two; echo three\n")
    assert MACHINE.version(tmp_path / "broken") == "one two"


def test_similar_layers_are_stored_next_to_each_other(tmp_path: Path) -> None:
    layout = tmp_path / "images"
    (layout / "blobs/sha256").mkdir(parents=True)

    def blob(name: str, content: str) -> dict[str, str]:
        (layout / f"blobs/sha256/{name}").write_text(content)
        return {"digest": f"sha256:{name}"}

    base, programs, samples, other = (blob(n, n * k) for n, k in (("base", 1), ("programs", 2), ("samples", 9), ("other", 1)))
    images = {"node": [base, samples, programs], "locust": [base, other]}
    index = []
    for name, layers in images.items():
        image = {"config": blob(f"{name}-config", ""), "layers": layers}
        index.append(
            {**blob(f"{name}-manifest", json.dumps(image)), "annotations": {"org.opencontainers.image.ref.name": name}}
        )
    (layout / "index.json").write_text(json.dumps({"manifests": index}))
    files = [file.name for file in IMAGES.order(layout, ["node", "locust"])]
    assert files[-4:] == ["programs", "base", "other", "samples"], "each once, the largest last"
    assert sorted(files) == sorted(file.name for file in layout.rglob("*") if file.is_file()), "and nothing is left out"
