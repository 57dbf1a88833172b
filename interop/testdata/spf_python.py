# pyspf checks senders against the zone in each question. A line of JSON in, one out.
import json
import sys

import spf

zone = {}


def lookup(name, qtype, strict=True, timeout=20):
    name = name.lower().rstrip(".")
    values = zone.get(qtype, {}).get(name) or []
    if values == ["!"]:
        raise spf.TempError("DNS server failure")
    if qtype == "MX":
        values = [(10, v) for v in values]
    elif qtype == "TXT":
        values = [[v.encode()] for v in values]
    return [((name, qtype), v) for v in values]


spf.DNSLookup = lookup
for line in sys.stdin:
    q = json.loads(line)
    zone = q["zone"]
    result, text = spf.check2(i=q["ip"], s=q["from"], h=q["helo"], receiver="mx.receiver.test")
    print(json.dumps({"status": result, "text": text}), flush=True)
