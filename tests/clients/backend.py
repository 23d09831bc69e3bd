"""A platform's backend: the life of an account, over the HTTP API alone.

    LYNKHOOK_API=… LYNKHOOK_KEY=… LYNKHOOK_ADMIN_KEY=… backend.py RECEIVER

RECEIVER is the address of an endpoint with the paths /crm and /audit; /audit answers 500 to the first three attempts
of the event `broken`. `tests/it/server/clients.rs` runs it, and looks at what arrived there.
"""

import json
import os
import sys
import time

from api import Api, Problem

ACCOUNT = "acme"
WEBHOOKS = f"/v1/accounts/{ACCOUNT}/webhooks"
api, receiver = Api(), sys.argv[1]


def tell(text):
    print(text, flush=True)


def refused(name, method, path, body=None, **headers):
    """Makes a request that has to be refused with this problem, and tells it as a person reads it."""
    try:
        answer = api.call(method, path, body, **headers)
    except Problem as problem:
        assert problem.name == name, problem
        tell(f"refused: {problem}")
        return problem
    raise AssertionError(f"{method} {path} was not refused: {answer.body}")


def envelope(message):
    """An envelope. Its spaces show that the bytes are not changed on their way."""
    data = {"messageId": message}
    return json.dumps({"event": "transcript.created", "timestamp": "2026-03-26T14:32:00.000Z", "data": data}, indent=1)


def enqueue(message):
    """Enqueues an event under an id of its own, so that a repetition is recognised by the receiver."""
    answer = api.call("POST", f"/v1/accounts/{ACCOUNT}/events", envelope(message).encode(), **{"webhook-id": message})
    assert (answer.status, answer["id"]) == (202, message)


def until(path, holds):
    """Reads a list again and again until it is as awaited. A list that did not change comes as 304, without a body."""
    tag, deadline = {}, time.monotonic() + 30
    while time.monotonic() < deadline:
        answer = api.call("GET", path, **tag)
        if answer.status == 200:
            found = json.loads(answer.body)
            if holds(found):
                return found
            tag = {"If_None_Match": answer.headers["ETag"]}
        time.sleep(0.05)
    raise AssertionError(f"{path} stays {found}")


def attempts(message, final):
    """The attempts of an event over all webhooks of the account, oldest first, once so many of them are final."""
    path = f"/v1/accounts/{ACCOUNT}/logs?identifier=messageId%3D{message}"
    return until(path, lambda log: sum(one["final"] for one in log["items"]) == final)["items"][::-1]


def begin():
    key = api.call("GET", "/v1/key")
    tell(f"the key {key['name']} is for {key['account']}: {', '.join(key['scopes'])}")
    refused("invalid", "POST", WEBHOOKS + "?dryRun=true", {"url": "http://10.0.0.1/in", "event": ["transcript.create"]})
    crm = {"url": f"{receiver}/crm", "authentication": {"type": "bearer", "token": "crm-token-0123456789"}}
    audit = {"url": f"{receiver}/audit", "authentication": {"type": "header", "name": "X-Key", "value": "audit-0123"}}
    added = [api.call("POST", WEBHOOKS, new) for new in (crm, audit)]
    refused("webhook-limit", "POST", WEBHOOKS, {"url": f"{receiver}/third"})
    assert [one["id"] for one in api.call("GET", WEBHOOKS)["items"]] == [one["id"] for one in added]
    assert all(one.headers["Location"] == f"{WEBHOOKS}/{one['id']}" for one in added)
    tested = api.call("POST", f"{WEBHOOKS}/{added[0]['id']}/test")
    assert tested["status"] == "success" and tested["request"]["headers"]["authorization"].startswith("Bearer ••••")
    return [f"{WEBHOOKS}/{one['id']}" for one in added]


def switch_off_and_on(audit):
    """What is enqueued while a webhook is off waits, and is delivered when it is on again."""
    old = api.call("GET", audit).headers["ETag"]
    api.call("PATCH", audit, {"description": "Audit"}, If_Match=old)
    present = refused("revision-changed", "PATCH", audit, {"description": "another's"}, If_Match=old).problem
    webhook = api.call("GET", audit)
    assert webhook["description"] == "Audit" and webhook.headers["ETag"] == f'"{present["revision"]}"'
    off = api.call("POST", audit + "/disable", If_Match=webhook.headers["ETag"])
    assert not off["active"]
    enqueue("m2")
    held = until(audit + "/held", lambda held: held["total"] == 1)["items"][0]
    assert held["eventId"] == "m2"
    waiting = api.call("GET", f"{audit}/held/{held['deliveryId']}/envelope")
    assert waiting.body == envelope("m2").encode()
    api.call("POST", audit + "/enable", {"discardHeld": False}, If_Match=off.headers["ETag"])
    assert {one["status"] for one in attempts("m2", 2)} == {"success"}
    tell("m2 waited while the webhook was off")


def fail_and_redeliver(audit):
    enqueue("broken")
    failed = until(audit + "/failed", lambda failed: failed["total"] == 1)["items"][0]
    assert (failed["eventId"], failed["httpStatus"], failed["attempt"]) == ("broken", 500, 3)
    delivery = failed["deliveryId"]
    assert api.call("GET", f"{audit}/failed/{delivery}/envelope").body == envelope("broken").encode()
    assert api.call("POST", audit + "/failed/redeliver", {"delivery": delivery})["redelivered"] == 1
    refused("no-such-delivery", "GET", f"{audit}/failed/{delivery}/envelope")
    of_audit = [one for one in attempts("broken", 3) if one["deliveryId"] == delivery]
    assert [one["httpStatus"] for one in of_audit] == [500, 500, 500, 200] and of_audit[-1]["redelivery"] == 1
    tell(f"broken failed after 3 attempts ({failed['error']}), and was redelivered")


def enqueue_together():
    path = f"/v1/accounts/{ACCOUNT}/events/batch"
    batch = {"events": [{"envelope": json.loads(envelope(message))} for message in ("b1", "b2")]}
    first, again = [api.call("POST", path, batch, Idempotency_Key="import-1") for _ in range(2)]
    assert first["items"] == again["items"] and again.headers["Idempotent-Replayed"] == "true"
    refused("idempotency-key-reused", "POST", path, {"events": batch["events"][:1]}, Idempotency_Key="import-1")
    batch["events"].append({"envelope": {"event": "transcript.create", "data": {}}})
    refused("invalid-envelope", "POST", path, batch, Idempotency_Key="import-2")
    for message in ("b1", "b2"):
        assert len(attempts(message, 2)) == 2


def end(crm):
    link = api.call("POST", f"/v1/accounts/{ACCOUNT}/portal-links", {"access": "manage", "user": "jo"})
    tell(f"a link to the settings screen: {link['url'].split('?')[0]}")
    assert api.call("DELETE", f"/v1/accounts/{ACCOUNT}/portal-sessions")["ended"] == 0
    refused("revision-changed", "DELETE", crm, If_Match='"99"')
    api.call("DELETE", crm, If_Match=api.call("GET", crm).headers["ETag"])
    refused("forbidden", "DELETE", f"/v1/accounts/{ACCOUNT}")
    purged = Api(key=os.environ["LYNKHOOK_ADMIN_KEY"]).call("DELETE", f"/v1/accounts/{ACCOUNT}")
    assert len(purged["webhooks"]) == 1
    assert api.call("GET", WEBHOOKS)["items"] == []


crm, audit = begin()
enqueue("m1")
assert len(attempts("m1", 2)) == 2
switch_off_and_on(audit)
fail_and_redeliver(audit)
enqueue_together()
end(crm)
tell(f"{api.repeated} requests were repeated")
