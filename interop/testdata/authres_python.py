"""Reads and writes fields with the authres package: a request and an answer in
JSON on each line."""
import json
import sys

import authres

context = authres.all_features()


def answer(q):
    if q["op"] == "parse":
        h = context.parse(q["text"])
        return {"id": h.authserv_id, "results": [{
            "method": r.method, "value": r.result, "reason": r.reason or "",
            "props": [[p.type, p.name, p.value] for p in r.properties],
        } for r in h.results]}
    results = []
    for r in q["results"]:
        props = [authres.AuthenticationResultProperty(*p) for p in r["props"]]
        results.append(authres.AuthenticationResult(
            r["method"], None, r["value"], r["comment"] or None, r["reason"] or None, None, props))
    return {"text": str(context.header(authserv_id=q["id"], results=results))}


for line in sys.stdin:
    try:
        out = answer(json.loads(line))
    except Exception as e:  # what it cannot read is told, not hidden
        out = {"error": repr(e)}
    print(json.dumps(out), flush=True)
