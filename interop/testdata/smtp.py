"""smtplib against Posta: CERT SMTP SUBMISSION SUBMISSIONS LMTP USER PASSWORD RCPT"""
import smtplib
import ssl
import sys
from email.message import EmailMessage

cert, smtp, submission, submissions, lmtp, user, password, rcpt = sys.argv[1:]
tls = ssl.create_default_context(cafile=cert)


def message(subject):
    m = EmailMessage()
    m["From"], m["To"], m["Subject"] = user, rcpt, subject
    m.set_content("Grüße\n.a dot\n")
    return m


with smtplib.SMTP("localhost", int(smtp), timeout=30) as c:
    c.ehlo()
    print(sorted(c.esmtp_features))
    for keyword in ("8bitmime", "pipelining", "size", "smtputf8", "enhancedstatuscodes", "starttls"):
        assert c.has_extn(keyword), keyword
    assert not c.has_extn("auth"), "no login where the world sends"
    assert c.verify(rcpt)[0] in (250, 252)
    assert c.noop()[0] == 250
    m = message("smtplib inbound")
    del m["From"]
    m["From"] = "someone@peer.test"
    assert c.send_message(m, from_addr="someone@peer.test") == {}
    # No relay, and the refused recipient alone is reported.
    refused = c.sendmail("someone@peer.test", [rcpt, "x@elsewhere.test"], "From: someone@peer.test\r\nSubject: half\r\n\r\nx\r\n")
    print(refused)
    assert list(refused) == ["x@elsewhere.test"] and refused["x@elsewhere.test"][0] == 550, refused

with smtplib.SMTP("localhost", int(submission), timeout=30) as c:
    c.ehlo()
    offered = c.esmtp_features.get("auth", "").split()
    assert "PLAIN" not in offered and "LOGIN" not in offered, "no password without TLS"
    try:
        c.sendmail(user, [rcpt], "Subject: no\r\n\r\nno\r\n")
        raise AssertionError("sent without login")
    except smtplib.SMTPSenderRefused as e:
        assert e.smtp_code == 530, e
    c.starttls(context=tls)
    c.ehlo()
    print(c.esmtp_features["auth"])
    c.login(user, password)
    assert c.send_message(message("smtplib starttls")) == {}

with smtplib.SMTP_SSL("localhost", int(submissions), timeout=30, context=tls) as c:
    try:
        c.login(user, "wrong")
        raise AssertionError("logged in with a wrong password")
    except smtplib.SMTPAuthenticationError as e:
        assert e.smtp_code == 535, e
    c.login(user, password)
    try:
        c.sendmail(rcpt, [rcpt], "From: %s\r\nSubject: forged\r\n\r\nx\r\n" % rcpt)
        raise AssertionError("sent as somebody else")
    except smtplib.SMTPSenderRefused as e:
        print(e)
    assert c.send_message(message("smtplib ssl")) == {}

with smtplib.LMTP("localhost", int(lmtp)) as c:
    assert c.send_message(message("smtplib lmtp")) == {}

print("\nall done")
