"""A client of the HTTP API that uses only Python's standard library.

It keeps one connection, tells errors in the server's words, and repeats a request that was refused for now: after the
time that `Retry-After` names, and only if a repetition cannot do something twice.
"""

import http.client
import json
import os
import time
import urllib.parse

ATTEMPTS = 10
# Refusals after which nothing was changed, so that any request may be repeated.
NOTHING_CHANGED = ["rate-limited", "busy", "store-full"]


class Problem(Exception):
    """An answer that is no success (RFC 9457). Its text is for people; `name` and `errors` are for programs."""

    def __init__(self, status, problem):
        self.status, self.problem = status, problem
        self.name = problem["type"].rpartition("/")[2]
        self.errors = problem.get("errors", [])
        places = [f"{error.get('pointer') or error.get('parameter')}: {error['detail']}" for error in self.errors]
        super().__init__("; ".join([f"{problem['title']} ({problem['detail']})", *places]))


class Answer:
    """A success."""

    def __init__(self, response, body):
        self.status, self.headers, self.body = response.status, response.headers, body

    def __getitem__(self, member):
        return json.loads(self.body)[member]


class Api:
    """The API at this address, with this key."""

    def __init__(self, address=None, key=None):
        address = urllib.parse.urlsplit(address or os.environ["LYNKHOOK_API"])
        kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        self.connection = kind(address.netloc, timeout=30)
        self.key = key or os.environ["LYNKHOOK_KEY"]
        # The time of the last answer, and how often a request was repeated.
        self.used, self.repeated = 0, 0

    def call(self, method, path, body=None, **headers):
        """Makes a request and answers its success, or raises its `Problem`. `If_Match="…"` is the header If-Match."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        # A repetition of any other request could add or change something a second time.
        repeatable = method == "GET" or "Idempotency-Key" in headers or "webhook-id" in headers
        if body is not None:
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        for attempt in range(1, ATTEMPTS + 1):
            try:
                response, answer = self.send(method, path, body, headers)
            except (ConnectionError, TimeoutError, http.client.HTTPException):
                # The request may have had its effect.
                if not repeatable or attempt == ATTEMPTS:
                    raise
                wait = 1
            else:
                if response.status < 400:
                    return Answer(response, answer)
                problem = Problem(response.status, json.loads(answer))
                may = response.status in (429, 503) and (repeatable or problem.name in NOTHING_CHANGED)
                if not may or attempt == ATTEMPTS:
                    raise problem
                wait = int(response.headers.get("Retry-After", 1))
            self.repeated += 1
            time.sleep(wait)

    def send(self, method, path, body, headers):
        """Makes one request. The server closes connections that are idle, so one that was used just now is used again."""
        if time.monotonic() - self.used > 1:
            self.connection.close()
        try:
            self.connection.request(method, path, body, {"Authorization": f"Bearer {self.key}", **headers})
            response = self.connection.getresponse()
            answer = response.read()
            self.used = time.monotonic()
            return response, answer
        except BaseException:
            self.connection.close()
            raise
