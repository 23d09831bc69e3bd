"""A plain producer that uses only Python's standard library: reads one account per line, and pushes its event.

    produce.py PORT PREFIX PARTITIONS < accounts
"""

import json
import socket
import sys
import zlib

port, prefix, partitions = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
connection = socket.create_connection(("127.0.0.1", port))
replies = connection.makefile("rb")

for account in sys.stdin.read().split():
    queue = f"{prefix}:{{{zlib.crc32(account.encode()) % partitions}}}:queue"
    data = {"messageId": f"python-{account}"}
    envelope = json.dumps({"event": "transcript.created", "timestamp": "2026-03-26T14:32:00Z", "data": data})
    command = [part.encode() for part in ("XADD", queue, "*", "account", account, "envelope", envelope)]
    connection.sendall(b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in command))
    length = replies.readline()
    assert length.startswith(b"$"), length
    replies.read(int(length[1:]) + 2)
