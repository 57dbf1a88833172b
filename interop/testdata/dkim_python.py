"""Signs and verifies with dkimpy or, through ctypes, with libopendkim: a request
and an answer in JSON on each line."""
import base64
import ctypes
import json
import re
import sys


def dkimpy():
    import dkim

    def sign(q, message):
        head, body = q["canon"].split("/")
        return dkim.sign(message, q["selector"].encode(), q["domain"].encode(), q["key"].encode(),
                         canonicalize=(head.encode(), body.encode()),
                         signature_algorithm=q["algorithm"].encode(), linesep=b"\r\n")

    def verify(q, message):
        text = q["record"].encode()
        return dkim.DKIM(message, minkey=1024).verify(dnsfunc=lambda name, timeout=5: text)

    return sign, verify


def opendkim():
    lib = ctypes.CDLL("libopendkim.so.11")
    P, S, N, I = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int
    lookup_type = ctypes.CFUNCTYPE(I, P, P, P, N)
    for name, result, args in [
            ("init", P, [P, P]), ("set_key_lookup", I, [P, lookup_type]), ("free", I, [P]),
            ("sign", P, [P, S, P, S, S, S, I, I, I, ctypes.c_ssize_t, ctypes.POINTER(I)]),
            ("verify", P, [P, S, P, ctypes.POINTER(I)]),
            ("header", I, [P, S, N]), ("eoh", I, [P]), ("body", I, [P, S, N]),
            ("eom", I, [P, P]), ("getsighdr_d", I, [P, N, ctypes.POINTER(P), ctypes.POINTER(N)])]:
        f = getattr(lib, "dkim_" + name)
        f.restype, f.argtypes = result, args
    record = [b""]

    def lookup(handle, sig, buf, size):
        ctypes.memmove(buf, record[0] + b"\0", len(record[0]) + 1)
        return 0

    lib.keep = lookup_type(lookup)  # or it would be collected
    handle = lib.dkim_init(None, None)
    if lib.dkim_set_key_lookup(handle, lib.keep) != 0:
        raise Exception("dkim_set_key_lookup")

    def feed(d, message):
        head, _, body = message.partition(b"\r\n\r\n")
        for field in re.split(rb"\r\n(?![ \t])", head):
            if (s := lib.dkim_header(d, field, len(field))) != 0:
                return s
        if (s := lib.dkim_eoh(d)) != 0:
            return s
        if body and (s := lib.dkim_body(d, body, len(body))) != 0:
            return s
        return lib.dkim_eom(d, None)

    def sign(q, message):
        canon = {"simple": 0, "relaxed": 1}
        head, body = q["canon"].split("/")
        status = I()
        d = lib.dkim_sign(handle, b"x", None, q["key"].encode(), q["selector"].encode(), q["domain"].encode(),
                          canon[head], canon[body], {"rsa-sha256": 1, "ed25519-sha256": 2}[q["algorithm"]],
                          -1, ctypes.byref(status))
        if not d:
            raise Exception("dkim_sign: %d" % status.value)
        try:
            if (s := feed(d, message)) != 0:
                raise Exception("signing: %d" % s)
            buf, size = P(), N()
            if (s := lib.dkim_getsighdr_d(d, len("DKIM-Signature: "), ctypes.byref(buf), ctypes.byref(size))) != 0:
                raise Exception("dkim_getsighdr_d: %d" % s)
            text = ctypes.string_at(buf, size.value)
        finally:
            lib.dkim_free(d)
        return b"DKIM-Signature: " + re.sub(rb"\r?\n", b"\r\n", text) + b"\r\n"

    def verify(q, message):
        record[0] = q["record"].encode()
        status = I()
        d = lib.dkim_verify(handle, b"x", None, ctypes.byref(status))
        if not d:
            raise Exception("dkim_verify: %d" % status.value)
        try:
            return feed(d, message) == 0
        finally:
            lib.dkim_free(d)

    return sign, verify


sign, verify = globals()[sys.argv[1]]()
for line in sys.stdin:
    q = json.loads(line)
    message = base64.b64decode(q["message"])
    try:
        if q["op"] == "sign":
            out = {"fields": base64.b64encode(sign(q, message)).decode()}
        else:
            out = {"pass": bool(verify(q, message))}
    except Exception as e:  # a message that a library does not take is told, not hidden
        out = {"error": repr(e)}
    print(json.dumps(out), flush=True)
