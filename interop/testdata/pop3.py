"""poplib against Posta: CERT POP3 POP3S USER PASSWORD; the mailbox holds three messages, and one stays"""
import poplib
import ssl
import sys

cert, pop3, pop3s, user, password = sys.argv[1:]
tls = ssl.create_default_context(cafile=cert)

c = poplib.POP3("localhost", int(pop3), timeout=30)
print(c.getwelcome(), c.capa())
assert "STLS" in c.capa()
try:
    c.user(user)
    c.pass_(password)
    raise AssertionError("logged in without TLS")
except poplib.error_proto as e:
    print(e)
c.stls(context=tls)
assert "UIDL" in c.capa() and "TOP" in c.capa(), c.capa()
c.user(user)
c.pass_(password)
count, octets = c.stat()
assert count == 3, count
listing = c.list()[1]
assert sum(int(line.split()[1]) for line in listing) == octets, (listing, octets)
uids = [line.split()[1] for line in c.uidl()[1]]
assert len(set(uids)) == 3, uids
assert c.uidl(2).split()[2] == uids[1]
lines = c.retr(1)[1]
assert lines[-3:] == [b"first line", b"second line", b"third line"], lines
assert sum(len(line) + 2 for line in lines) == int(listing[0].split()[1])
assert c.top(1, 1)[1] == lines[:-2], c.top(1, 1)
assert c.top(1, 0)[1] == lines[:-3]
assert c.retr(2)[1][-3:] == [b".dots", b"..more", b""], c.retr(2)
c.dele(1)
try:
    c.retr(1)
    raise AssertionError("a deleted message was sent")
except poplib.error_proto:
    pass
assert c.stat()[0] == 2
c.rset()
assert c.stat()[0] == 3
c.noop()
c.dele(1)
c.close()  # without QUIT nothing is deleted

c = poplib.POP3_SSL("localhost", int(pop3s), context=tls, timeout=30)
c.user(user)
c.pass_(password)
assert [line.split()[1] for line in c.uidl()[1]] == uids, "UIDs stay"
c.dele(1)
c.dele(2)
c.quit()

c = poplib.POP3_SSL("localhost", int(pop3s), context=tls, timeout=30)
c.user(user)
c.pass_(password)
assert [line.split()[1] for line in c.uidl()[1]] == uids[2:]
c.quit()

c = poplib.POP3_SSL("localhost", int(pop3s), context=tls, timeout=30)
try:
    c.user(user)
    c.pass_("wrong")
    raise AssertionError("logged in with a wrong password")
except poplib.error_proto as e:
    print(e)
print("\nall done")
