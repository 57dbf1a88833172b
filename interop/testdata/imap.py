"""imaplib against Posta: CERT IMAP IMAPS USER PASSWORD"""
import imaplib
import re
import ssl
import sys
import time
import zlib

cert, imap, imaps, user, password = sys.argv[1:]
tls = ssl.create_default_context(cafile=cert)
first = b"From: <a@peer.test>\r\nTo: <b@posta.test>\r\nSubject: imaplib one\r\n\r\nbody one\r\n"
second = b"From: <a@peer.test>\r\nTo: <b@posta.test>\r\nSubject: imaplib two\r\n\r\nbody two, needle\r\n"


def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]


def session(c, box):
    print(c.capabilities)
    ok(c.login(user, password))
    getattr(c, "compress", lambda: None)()
    print(ok(c.namespace()))
    names = b"\n".join(ok(c.list()))
    for name in (b"INBOX", b"Drafts", b"Sent", b"Junk", b"Trash"):
        assert b'"%s"' % name in names or b" %s" % name in names, names
    ok(c.create(box))
    ok(c.subscribe(box))
    assert any(box.encode() in line for line in ok(c.lsub()))
    uids = []
    for m, flags in ((first, "(\\Seen)"), (second, None)):
        text = ok(c.append(box, flags, imaplib.Time2Internaldate(time.time()), m))[0]
        uids.append(int(re.search(rb"APPENDUID \d+ (\d+)", text).group(1)))
    assert uids == [1, 2], uids
    assert ok(c.select(box)) == [b"2"]
    assert ok(c.search(None, "SUBJECT", '"two"')) == [b"2"]
    assert ok(c.search("UTF-8", "TEXT", "needle")) == [b"2"]
    assert ok(c.search(None, "UNSEEN")) == [b"2"]
    assert ok(c.uid("SEARCH", "ALL")) == [b"1 2"]
    assert ok(c.fetch("1", "(BODY.PEEK[])"))[0][1] == first
    data = ok(c.uid("FETCH", "2", "(FLAGS RFC822.SIZE BODY[TEXT])"))
    print(data)
    assert data[0][1] == b"body two, needle\r\n" and b"RFC822.SIZE %d" % len(second) in data[0][0], data
    print(ok(c.fetch("1:*", "(ENVELOPE BODYSTRUCTURE INTERNALDATE)")))
    assert b"\\Flagged" in ok(c.store("1", "+FLAGS", "(\\Flagged $Custom)"))[0]
    assert b"$Custom" in ok(c.store("1", "-FLAGS", "(\\Flagged)"))[0]
    ok(c.copy("1", "Trash"))
    ok(c.store("2", "+FLAGS.SILENT", "(\\Deleted)"))
    assert ok(c.expunge()) == [b"2"]
    assert b"MESSAGES 1" in ok(c.status(box, "(MESSAGES UIDNEXT)"))[0]
    ok(c.unselect())
    extensions(c, box)
    ok(c.rename(box, box + "-renamed"))
    ok(c.delete(box + "-renamed"))
    assert c.status(box, "(MESSAGES)")[0] == "NO"
    c.logout()


class Compressed(imaplib.IMAP4_SSL):
    """COMPRESS=DEFLATE (RFC 4978) by zlib, which flushes partially."""

    z = None

    def compress(self):
        ok(self._simple_command("COMPRESS", "DEFLATE"))
        self.z, self.d, self.plain = zlib.compressobj(6, zlib.DEFLATED, -15), zlib.decompressobj(-15), b""

    def more(self):
        data = (self._file if hasattr(self, "_file") else self.file).read1(65536)
        assert data
        self.plain += self.d.decompress(data)

    def read(self, size):
        if not self.z:
            return super().read(size)
        while len(self.plain) < size:
            self.more()
        data, self.plain = self.plain[:size], self.plain[size:]
        return data

    def readline(self):
        if not self.z:
            return super().readline()
        while b"\n" not in self.plain:
            self.more()
        return self.read(self.plain.index(b"\n") + 1)

    def send(self, data):
        if self.z:
            data = self.z.compress(data) + self.z.flush(zlib.Z_PARTIAL_FLUSH)
        super().send(data)


imaplib.Commands["COMPRESS"] = ("AUTH", "SELECTED")


def untagged(c, command, *args):
    ok(c._simple_command(command, *args))
    return [line for line in c.response(command)[1] if line is not None]


imaplib.Commands.update({"SETMETADATA": ("AUTH", "SELECTED"), "GETMETADATA": ("AUTH", "SELECTED"), "ESEARCH": ("SELECTED",), "LISTRIGHTS": ("AUTH", "SELECTED")})


def extensions(c, box):
    """What this client knows of extensions, and what it can be taught."""
    assert box.encode() in ok(c.getquotaroot(box))[0][0]
    assert b'(("" "/"))' in ok(c.namespace())[0], c.namespace()
    for name in ("GETANNOTATION", "PROXYAUTH", "NOSUCH"):
        try:
            typ, data = c.xatom(name, "x", "y", "z")
        except imaplib.IMAP4.error as e:
            typ, data = "BAD", [e]
        assert typ == "BAD", (name, typ, data)
    assert untagged(c, "LISTRIGHTS", box, "bob@posta.test")[0].startswith(b'"%s" ' % box.encode())
    assert b"lrswipkxtea" in ok(c.myrights(box))[0], c.myrights(box)
    ok(c.setacl(box, "bob@posta.test", "lr"))
    assert b"bob@posta.test" in ok(c.getacl(box))[0]
    ok(c.deleteacl(box, "bob@posta.test"))
    assert b"bob@posta.test" not in ok(c.getacl(box))[0]
    assert untagged(c, "SETMETADATA", box, '(/private/comment "by imaplib")') == []
    ok(c._simple_command("GETMETADATA", box, "/private/comment"))
    assert b"by imaplib" in c.untagged_responses.pop("METADATA")[0]
    ok(c.select(box))
    uids = []
    for subject in (b"kiwi", b"Re: zebra", b"zebra"):
        text = ok(c.append(box, None, None, b"Subject: %s\r\n\r\nx\r\n" % subject))[0]
        uids.append(int(re.search(rb"APPENDUID \d+ (\d+)", text).group(1)))
    assert ok(c.sort("(SUBJECT)", "UTF-8", "SUBJECT zebra"))[0].split() == [b"3", b"4"]
    assert ok(c.uid("SORT", "(REVERSE SUBJECT)", "UTF-8", "UID %d:*" % uids[0]))[0].split() == [b"%d" % u for u in (uids[1], uids[2], uids[0])]
    for data in (ok(c.thread("REFERENCES", "UTF-8", "SUBJECT zebra")), ok(c.thread("ORDEREDSUBJECT", "UTF-8", "SUBJECT zebra"))):
        assert data[0] in (b"(3 4)", b"(4 3)", b"((3)(4))"), data
    print(ok(c.uid("THREAD", "ORDEREDSUBJECT", "UTF-8", "ALL")))
    ok(c.uid("MOVE", "%d" % uids[0], "Trash"))
    assert c.response("COPYUID")[1][0], "COPYUID"
    ok(c.store("2", "+FLAGS.SILENT", "(\\Deleted)"))
    ok(c.uid("EXPUNGE", "%d" % uids[2]))  # UIDPLUS: not that one
    assert len(ok(c.uid("SEARCH", "ALL"))[0].split()) == 3
    ok(c.unselect())


def utf8(c):
    """UTF8=ACCEPT (RFC 9755)."""
    ok(c.login(user, password))
    ok(c.enable("UTF8=ACCEPT"))
    ok(c.create('"Größe"'))
    # From here imaplib's append writes "UTF8 (" and ")" inside of the literal, not
    # around it as RFC 6855 had it; no part of the message.
    m = "Subject: Größe\r\n\r\nx\r\n".encode()
    ok(c.append('"Größe"', None, None, m))
    assert ok(c.select('"Größe"')) == [b"1"]
    assert "Größe".encode() in ok(c.fetch("1", "(ENVELOPE)"))[0]
    assert ok(c.fetch("1", "(BODY.PEEK[])"))[0][1] == m
    assert ok(c.search(None, "SUBJECT", '"größe"')) == [b"1"]
    assert any('"Größe"'.encode() in line for line in ok(c.list()))
    assert ok(c.sort("(SUBJECT)", "UTF-8", 'TEXT "größe"')) == [b"1"]
    c.logout()


c = imaplib.IMAP4("localhost", int(imap), timeout=30)
assert "LOGINDISABLED" in c.capabilities, c.capabilities
try:
    c.login(user, password)
    raise AssertionError("logged in without TLS")
except imaplib.IMAP4.error as e:
    print(e)
ok(c.starttls(ssl_context=tls))
session(c, "by-starttls")

c = imaplib.IMAP4_SSL("localhost", int(imaps), ssl_context=tls, timeout=30)
session(c, "by-ssl")

session(Compressed("localhost", int(imaps), ssl_context=tls, timeout=30), "by-deflate")

utf8(imaplib.IMAP4_SSL("localhost", int(imaps), ssl_context=tls, timeout=30))

c = imaplib.IMAP4_SSL("localhost", int(imaps), ssl_context=tls, timeout=30)
ok(c.authenticate("PLAIN", lambda challenge: b"\0" + user.encode() + b"\0" + password.encode()))
assert c.select('"does not exist"')[0] == "NO"
c.logout()

c = imaplib.IMAP4_SSL("localhost", int(imaps), ssl_context=tls, timeout=30)
try:
    c.login(user, "wrong")
    raise AssertionError("logged in with a wrong password")
except imaplib.IMAP4.error as e:
    print(e)
c.logout()
print("\nall done")
