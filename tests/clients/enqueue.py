"""Enqueues each line of standard input, an envelope, over the HTTP API. Whatever fails meanwhile, each is added once.

    LYNKHOOK_API=… LYNKHOOK_KEY=… enqueue.py ACCOUNT < events.ndjson
"""

import sys
import uuid

from api import Api

api, account = Api(), sys.argv[1]
for line in sys.stdin.buffer:
    # The key belongs to the event: a backend stores it beside the event, so that it is the same after a restart.
    answer = api.call("POST", f"/v1/accounts/{account}/events", line.strip(), Idempotency_Key=str(uuid.uuid4()))
    print(answer["id"])
print(f"{api.repeated} requests were repeated", file=sys.stderr)
