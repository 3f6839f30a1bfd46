"""Prints FIRST-LAST: addresses at the upper end of a network that nobody has: free_addresses.py SUBNET COUNT.

An address is somebody's when it answers the question for its hardware address, as every host has to that is reached at all.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import subprocess
import sys
import time


def taken(addresses: list[ipaddress.IPv4Address]) -> set[ipaddress.IPv4Address]:
    """Those of the addresses, all of a network of this host, that somebody has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for address in addresses:
            sender.sendto(b"", (str(address), 9))  # the discard port: the kernel asks who has the address
    time.sleep(3.5)  # the kernel asks three times, a second apart
    neighbors = json.loads(
        subprocess.run(["ip", "-json", "-4", "neighbour"], capture_output=True, text=True, check=True).stdout
    )
    return {address for address in addresses if any(n["dst"] == str(address) and "lladdr" in n for n in neighbors)}


def main() -> int:
    """0 with the addresses on standard output, 1 when there are none, with one line on standard error."""
    network, count = ipaddress.IPv4Network(sys.argv[1]), int(sys.argv[2])
    # Engines give containers addresses from the lower end on; the last of all is the broadcast address.
    end = int(network.broadcast_address)
    while (start := end - count) > int(network.network_address) + 1:
        wanted = [ipaddress.IPv4Address(number) for number in range(start, end)]
        if not taken(wanted):
            print(f"{wanted[0]}-{wanted[-1]}")
            return 0
        end = start
    print(f"{network}: no {count} addresses in a row are free", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
