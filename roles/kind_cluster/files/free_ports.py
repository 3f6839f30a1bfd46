"""free_ports.py COUNT: prints as many free ports of 127.0.0.1, every one another, a line each."""

import socket
import sys

# Kept open until all are chosen, so that none is chosen twice.
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
for chosen in sockets:
    print(chosen.getsockname()[1])
