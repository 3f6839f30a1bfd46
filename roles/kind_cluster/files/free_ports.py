"""free_ports.py FILE...: writes a free port of 127.0.0.1 into each file, every one another."""

import pathlib
import socket
import sys

# Kept open until all are chosen, so that none is chosen twice.
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in sys.argv[1:]]
for name, chosen in zip(sys.argv[1:], sockets, strict=True):
    pathlib.Path(name).write_text(f"{chosen.getsockname()[1]}\n")
