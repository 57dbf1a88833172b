"""imaplib against Posta: CERT IMAP IMAPS USER PASSWORD"""
import imaplib
import re
import ssl
import sys
import time

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
    ok(c.rename(box, box + "-renamed"))
    ok(c.delete(box + "-renamed"))
    assert c.status(box, "(MESSAGES)")[0] == "NO"
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
