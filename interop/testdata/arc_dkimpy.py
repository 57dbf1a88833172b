"""Seals and verifies chains with dkimpy: a request and an answer in JSON on each line."""
import base64
import json
import sys

import dkim


def answer(q):
    message = base64.b64decode(q["message"])
    if q["op"] == "seal":
        fields = dkim.arc_sign(message, q["selector"].encode(), q["domain"].encode(),
                               q["key"].encode(), q["servid"].encode(), linesep=b"\r\n")
        return {"fields": base64.b64encode(b"".join(fields)).decode()}
    keys = q["keys"]

    def txt(name, timeout=5):
        text = keys.get(name.decode().rstrip("."))
        return text.encode() if text is not None else None

    cv, _, reason = dkim.arc_verify(message, dnsfunc=txt)
    return {"status": (cv or b"fail").decode(), "reason": reason}


for line in sys.stdin:
    try:
        out = answer(json.loads(line))
    except Exception as e:  # what dkimpy cannot read is told, not hidden
        out = {"error": repr(e)}
    print(json.dumps(out), flush=True)
