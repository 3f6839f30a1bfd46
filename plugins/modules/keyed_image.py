#!/usr/bin/python
"""Ansible module: a container image built once for each content key."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: keyed_image
short_description: Builds an image with podman unless one with the same content key is in the store
description:
  - The image is tagged with its key. C(podman build) tags only a complete image, so an interrupted build leaves
    nothing that a later run could take for a finished one.
  - No registry is ever asked (--pull=never).
options:
  name:
    description: Local name without a tag, such as localhost/istio-lab/pilot.
    type: str
    required: true
  key:
    description: Content key; becomes the tag.
    type: str
    required: true
  tags:
    description: Further full names that shall point at this image.
    type: list
    elements: str
    default: []
  context:
    description: Build context.
    type: path
    required: true
  containerfile:
    description: The Containerfile; C(context)/Containerfile when not given.
    type: path
  contexts:
    description: Further named contexts for COPY --from.
    type: dict
    default: {}
  build_args:
    description: Arguments of the build.
    type: dict
    default: {}
  volumes:
    description: Read-only mounts for the build, path on the host -> path in the build.
    type: dict
    default: {}
  platform:
    description: What the image is for, such as linux/arm64; this machine when empty. Another one's programs have to run here.
    type: str
    default: ""
  log:
    description: File that receives the output of the build.
    type: path
    required: true
author: istio-lab developers
"""

EXAMPLES = r"""
- name: Build the control plane's image
  keyed_image:
    name: localhost/istio-lab/pilot
    key: 0123456789abcdef
    context: /srv/binaries
    containerfile: /srv/pilot.Containerfile
    log: /var/log/pilot.log
"""

RETURN = r"""
image:
  description: Name and tag of the image.
  returned: success
  type: str
seconds:
  description: Time that the build took; 0 when nothing was built.
  returned: success
  type: float
"""

HOST_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def build_command(params: dict, image: str) -> list[str]:
    """The podman command line that builds ``image``."""
    command = ["podman", "build", "--pull=never", "--network=host", "--layers=true", "--tag", image]
    command += ["--label", f"istio-lab.key={params['key']}"]
    if params["platform"]:
        command += ["--platform", params["platform"]]
    if Path(HOST_CERTIFICATES).exists():
        # The host may trust a CA of its own (a proxy's); the build needs it, the image must not keep it.
        command += ["--volume", f"{HOST_CERTIFICATES}:{HOST_CERTIFICATES}:ro"]
    for path, target in sorted(params["volumes"].items()):
        command += ["--volume", f"{path}:{target}:ro"]
    for name, path in sorted(params["contexts"].items()):
        command += ["--build-context", f"{name}={path}"]
    for name, value in sorted(params["build_args"].items()):
        command += ["--build-arg", f"{name}={value}"]
    containerfile = params["containerfile"] or os.path.join(params["context"], "Containerfile")
    return [*command, "--file", containerfile, params["context"]]


def image_id(image: str) -> str:
    """The id of ``image`` in the store, '' when it is not there."""
    done = subprocess.run(
        ["podman", "image", "inspect", "--format", "{{.Id}}", image], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def main() -> None:
    """Entry point that Ansible calls."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "key": {"type": "str", "required": True, "no_log": False},
            "tags": {"type": "list", "elements": "str", "default": []},
            "context": {"type": "path", "required": True},
            "containerfile": {"type": "path"},
            "contexts": {"type": "dict", "default": {}},
            "build_args": {"type": "dict", "default": {}},
            "volumes": {"type": "dict", "default": {}},
            "platform": {"type": "str", "default": ""},
            "log": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    image = f"{params['name']}:{params['key']}"
    wanted = image_id(image)
    stale = [tag for tag in params["tags"] if not wanted or image_id(tag) != wanted]
    changed = not wanted or bool(stale)
    seconds = 0.0
    if not module.check_mode:
        if not wanted:
            started = time.monotonic()
            Path(params["log"]).parent.mkdir(parents=True, exist_ok=True)
            with open(params["log"], "wb") as log:
                done = subprocess.run(build_command(params, image), stdout=log, stderr=subprocess.STDOUT, check=False)
            if done.returncode:
                tail = Path(params["log"]).read_text(errors="replace").splitlines()[-5:]
                module.fail_json(msg=f"{image} was not built; the whole log is in {params['log']}; it ends: {tail}")
            seconds = round(time.monotonic() - started, 1)
        for tag in stale:
            module.run_command(["podman", "tag", image, tag], check_rc=True)
    module.exit_json(changed=changed, image=image, seconds=seconds)


if __name__ == "__main__":
    main()
