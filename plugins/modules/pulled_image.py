#!/usr/bin/python
"""Ansible module: an official image in the engine's store, through a mirror if there is one."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: pulled_image
short_description: Pulls an image under its official name, through an optional mirror
options:
  engine:
    description: Engine whose store it shall be in.
    type: str
    choices: [podman, docker]
    default: podman
  name:
    description: Official name with tag or digest.
    type: str
    required: true
  hub:
    description: The part of official names that a mirror stands in for.
    type: str
    required: true
  mirror:
    description:
      - Registry path put in place of C(hub); empty to ask the official registry.
      - One that speaks plain HTTP begins with http://, unless it is on loopback.
    type: str
    default: ""
author: istio-lab developers
"""

EXAMPLES = r"""
- name: Pull the control plane's image
  pulled_image:
    name: registry.istio.io/release/pilot:1.31.1
    hub: registry.istio.io/release
    mirror: 127.0.0.1:5000/release
"""

RETURN = r"""
source:
  description: The name that was asked for.
  returned: success
  type: str
"""


def mirrored(name: str, hub: str, mirror: str) -> str:
    """The name to pull: ``name`` with ``hub`` replaced by ``mirror`` (Docker Hub's names may lack the hub)."""
    full = name if name.startswith(f"{hub}/") else f"{hub}/{name}"
    return full if not mirror else f"{mirror.rstrip('/')}/{full.removeprefix(f'{hub}/')}"


def main() -> None:
    """Entry point that Ansible calls."""
    module = AnsibleModule(
        argument_spec={
            "engine": {"type": "str", "choices": ["podman", "docker"], "default": "podman"},
            "name": {"type": "str", "required": True},
            "hub": {"type": "str", "required": True},
            "mirror": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    engine, name, given = module.params["engine"], module.params["name"], module.params["mirror"]
    # podman and docker know no scheme in an image's name.
    mirror = given.removeprefix("http://").removeprefix("https://")
    source = mirrored(name, module.params["hub"], mirror)
    # A digest is no tag: the local name of such an image is its repository with the tag before the digest. The name is
    # whole, as kind asks for it: podman would keep a short one under localhost/.
    local = mirrored(name, module.params["hub"], "").split("@", maxsplit=1)[0]
    present = module.run_command([engine, "image", "inspect", local])[0] == 0
    if not present and not module.check_mode:
        # docker takes plain HTTP from loopback by itself.
        plain = engine == "podman" and given.startswith(("http://", "127.", "localhost"))
        command = [engine, "pull", "--quiet", *(["--tls-verify=false"] if plain else []), source]
        code, _, error = module.run_command(command)
        if code:
            last = (error.strip().splitlines() or ["no output"])[-1]
            module.fail_json(msg=f"{source} could not be pulled: {last}; set a mirror or image_source: build")
        module.run_command([engine, "tag", source, local], check_rc=True)
    module.exit_json(changed=not present, source=source)


if __name__ == "__main__":
    main()
