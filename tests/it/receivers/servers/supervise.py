"""Two uvicorn processes that share a listening socket: supervise.py PORT. On SIGHUP it restarts them one by one.

uvicorn's manual has this set-up for supervisord (`[fcgi-program]`, `--fd 0`); this does as supervisord does. The socket
stays open, so new connections wait while a process restarts, and a process counts as started after 1 s (`startsecs`).
"""

import signal
import socket
import subprocess
import sys
import time

STARTSECS = 1

listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=2048)
fd = listener.fileno()
command = ["uvicorn", "--fd", str(fd), "--ssl-certfile", "certificate.pem", "--ssl-keyfile", "key.pem", "app:asgi"]


def start():
    return subprocess.Popen(command, pass_fds=[fd])


processes = [start(), start()]
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
while True:
    signal.sigwait([signal.SIGHUP])
    for at, process in enumerate(processes):
        process.terminate()
        process.wait()
        processes[at] = start()
        time.sleep(STARTSECS)
