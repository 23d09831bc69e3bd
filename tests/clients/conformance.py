"""Calls every operation of /openapi.json, with plausible and with wrong input, as the document describes it.

    LYNKHOOK_API=… LYNKHOOK_KEY=… conformance.py RECEIVER

Each answer has to have a documented status, a documented type, and the shape of its schema. No answer may be a 5xx. A
body that its schema refuses has to be refused, and so has a parameter that the document does not have. The key needs
the scope `admin`. A webhook's URL is RECEIVER.
"""

import copy
import json
import sys

from api import Api

WRONG = [None, True, 5, -1.5, "", "x\u0000\u202e", "x" * 3000, [], [None], {}, {"type": "bearer", "extra": 1}]
WRONG_PARAMETERS = ["", "x", "-1", "true", "99999999999999999999", "%00", "%FF", "c1%C3%A4", "2026-13-01T00:00:00Z"]
# `.` and `..` are missing, because every client and proxy removes them from a path.
WRONG_IN_PATH = ["%20", "%00", "%FF", "%2F", "%2E%2E%2F", "%C3%A4", "a" * 300, "wh_x", "-"]
TYPES = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}

api, receiver = Api(), sys.argv[1]
document = json.loads(api.send("GET", "/openapi.json", None, {})[1])
calls, accounts, faults = 0, 0, []


def resolved(schema):
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def fits(value, schema):
    """Whether a value has the form of a schema: types, members, choices, numbers of items."""
    schema = resolved(schema)
    kinds = schema.get("type", [])
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if kinds and not any(is_a(value, kind) for kind in kinds):
        return False
    if any(not fits(value, part) for part in schema.get("allOf", [])):
        return False
    for choice in ("oneOf", "anyOf"):
        if choice in schema and not any(fits(value, part) for part in schema[choice]):
            return False
    if value not in schema.get("enum", [value]):
        return False
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        if any(member not in value for member in schema.get("required", [])):
            return False
        further = [value[name] for name in value if name not in known]
        if further and others is False or isinstance(others, dict) and not all(fits(one, others) for one in further):
            return False
        return all(fits(value[name], known[name]) for name in value if name in known)
    if isinstance(value, list):
        inside = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        # `false`: only the items of a tuple, which are not looked at.
        return inside and all(fits(item, schema.get("items") or {}) for item in value)
    return True


def is_a(value, kind):
    if kind == "null":
        return value is None
    # For Python, True is a number.
    return isinstance(value, TYPES[kind]) and isinstance(value, bool) == (kind == "boolean")


def plausible(schema):
    """A value of the schema's form: its example, or one that is made from its parts."""
    schema = resolved(schema)
    if "example" in schema:
        return copy.deepcopy(schema["example"])
    if "enum" in schema:
        return schema["enum"][0]
    for choice in ("oneOf", "anyOf", "allOf"):
        if choice in schema:
            return plausible(next(part for part in schema[choice] if part.get("type") != "null"))
    kinds = schema.get("type", "object")
    kind = kinds if isinstance(kinds, str) else kinds[0]
    if kind == "object":
        return {name: plausible(schema["properties"][name]) for name in schema.get("required", [])}
    if kind == "array":
        return [plausible(schema["items"])]
    return {"string": "x", "integer": 1, "number": 1, "boolean": True}[kind]


def check(operation, method, path, body, headers, must_fail=False):
    """Makes a call, and holds its answer against the document."""
    global calls
    calls += 1
    response, answer = api.send(method, path, body, headers)
    fault = fault_of(operation, response, answer)
    if not fault and must_fail and response.status < 400:
        fault = "it has to be refused"
    if fault:
        faults.append(f"{fault}: {method} {path[:200]} {str(headers)} {str(body)[:200]} -> {response.status} {str(answer)[:300]}")
    return response.status


def fault_of(operation, response, answer):
    if response.status >= 500 or not response.headers["Request-Id"]:
        return "a fault of the server"
    if response.status == 304:
        return None if "304" in operation["responses"] else "304 is not documented"
    kind = (response.headers["Content-Type"] or "").partition(";")[0]
    shape = json.loads(answer) if kind.endswith("json") else None
    if response.status >= 400 and (kind != "application/problem+json" or not shape["detail"]):
        return "it says nothing"
    if response.status in (404, 405) and shape["type"] == "about:blank":
        # A path of another form is no path of this operation.
        return None
    documented = operation["responses"].get(str(response.status))
    if documented is None:
        return f"{response.status} is not documented"
    if kind not in documented["content"]:
        return f"{kind} is not documented"
    if shape is not None and not fits(shape, documented["content"][kind]["schema"]):
        return "the shape is another one"
    return None


def variations(body, schema):
    """Bodies that differ from a good one in one place: a member is missing, unknown, or of another type."""
    schema = resolved(schema)
    yield from WRONG[:-1]
    yield {**body, "unknown": 1}
    for name, member in schema.get("properties", {}).items():
        yield {other: value for other, value in body.items() if other != name}
        for wrong in WRONG:
            yield {**body, name: wrong}
        member = resolved(member)
        if member.get("type") == "array" and resolved(member["items"]).get("type") == "object":
            for inner in variations(plausible(member["items"]), member["items"]):
                yield {**body, name: [inner]}


def without_null(value):
    """The value as it counts outside of a merge patch: `null` is an absent member."""
    if isinstance(value, list):
        return [without_null(item) for item in value]
    if isinstance(value, dict):
        return {name: without_null(inner) for name, inner in value.items() if inner is not None}
    return value


def call(path, method, operation):
    """Calls an operation in every way."""
    global accounts
    accounts += 1
    account = f"conformance-{accounts}"
    new = api.call("POST", f"/v1/accounts/{account}/webhooks", {"url": receiver})
    good = {"account": account, "id": new["id"], "event": "transcript.created", "delivery": "x", "name": "invalid"}
    fill = lambda **other: path.format(**{**good, **other})
    parameters = [one for one in operation.get("parameters", [])]
    needed = {one["name"]: "x" for one in parameters if one["in"] == "query" and one.get("required")}
    ask = lambda query: f"{fill()}?{'&'.join(f'{name}={value}' for name, value in query.items())}"
    content = operation.get("requestBody", {}).get("content", {})
    kind, schema = next(((kind, one["schema"]) for kind, one in content.items()), (None, None))
    good_body = plausible(schema) if schema else None
    body, headers = (json.dumps(good_body).encode(), {"Content-Type": kind}) if schema else (None, {})
    reached = check(operation, method, ask(needed), body, headers)
    check(operation, method, ask({**needed, "unknown": "1"}), body, headers, must_fail=path.startswith("/v1/"))
    for one in parameters:
        if one["in"] == "path":
            for wrong in WRONG_IN_PATH:
                check(operation, method, fill(**{one["name"]: wrong}), body, headers)
            continue
        for wrong in WRONG_PARAMETERS:
            if one["in"] == "query":
                check(operation, method, ask({**needed, one["name"]: wrong}), body, headers)
            else:
                check(operation, method, ask(needed), body, {**headers, one["name"]: wrong})
    if schema:
        for wrong in (b"", b"{", b"\xff", b"[" * 9000, b"null", b'{"a":1,"a":2}'):
            check(operation, method, ask(needed), wrong, headers)
        for wrong in ("", "text/plain", "application/xml; charset=utf-8"):
            check(operation, method, ask(needed), body, {"Content-Type": wrong}, must_fail=True)
        for wrong in variations(good_body, schema):
            refused = not fits(wrong if method == "PATCH" else without_null(wrong), schema)
            check(operation, method, ask(needed), json.dumps(wrong).encode(), headers, must_fail=refused)
    api.call("DELETE", f"/v1/accounts/{account}")
    return reached


reached = {}
for path, item in document["paths"].items():
    for method, operation in item.items():
        reached[f"{method} {path}"] = call(path, method.upper(), operation)
refused = {operation: status for operation, status in reached.items() if status >= 400}
print(f"{calls} calls of {len(reached)} operations; the plausible input was refused by {json.dumps(refused)}")
if faults:
    sys.exit(f"{len(faults)} answers are not as documented:\n" + "\n".join(faults[:100]))
