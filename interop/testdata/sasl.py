"""SASL of smtplib, imaplib and poplib against Posta: CERT SMTP IMAP POP3 USER PASSWORD TOKEN"""
import base64
import imaplib
import json
import poplib
import smtplib
import ssl
import sys

cert, smtp, imap, pop3, user, password, good = sys.argv[1:]
tls = ssl.create_default_context(cafile=cert)


def xoauth2(token):
    return f"user={user}\x01auth=Bearer {token}\x01\x01"


def bearer(token):
    return f"n,a={user},\x01host=localhost\x01port=143\x01auth=Bearer {token}\x01\x01"


class Token:
    """answers the first challenge with the message and a report with the dummy"""

    def __init__(self, message, dummy):
        self.message, self.dummy, self.report, self.sent = message, dummy, None, False

    def __call__(self, challenge=None):
        if not self.sent:
            self.sent = True
            return self.message
        self.report = json.loads(challenge)
        return self.dummy


for mechanism, message, dummy, status in (("XOAUTH2", xoauth2, "", "401"), ("OAUTHBEARER", bearer, "\x01", "invalid_token")):
    for token in (good, "bad"):
        with smtplib.SMTP("localhost", int(smtp), timeout=30) as c:
            c.starttls(context=tls)
            c.ehlo()
            assert mechanism in c.esmtp_features["auth"].split()
            t = Token(message(token), dummy)
            for initial in (True, False):
                t = Token(message(token), dummy)
                try:
                    code, text = c.auth(mechanism, t, initial_response_ok=initial)
                    assert token == good and code == 235, (code, text)
                    break
                except smtplib.SMTPAuthenticationError as e:
                    assert token == "bad" and e.smtp_code == 535, e
                    assert t.report["status"] == status, t.report
        with imaplib.IMAP4("localhost", int(imap), timeout=30) as c:
            c.starttls(tls)
            t = Token(message(token), dummy)
            try:
                # imaplib sends no initial response: the first challenge is empty
                c.authenticate(mechanism, lambda challenge: t(challenge).encode())
                assert token == good
            except imaplib.IMAP4.error as e:
                assert token == "bad" and "AUTHENTICATIONFAILED" in str(e), e
                assert t.report["status"] == status, t.report
        print(mechanism, token, "done")

for mechanism, answer in (("auth_plain", None), ("auth_login", None)):
    for secret in (password, "wrong"):
        with smtplib.SMTP("localhost", int(smtp), timeout=30) as c:
            c.starttls(context=tls)
            c.ehlo()
            c.user, c.password = user, secret
            for initial in (True, False):
                try:
                    code, _ = c.auth(mechanism[5:].upper(), getattr(c, mechanism), initial_response_ok=initial)
                    assert secret == password and code == 235
                    break
                except smtplib.SMTPAuthenticationError as e:
                    assert secret == "wrong" and e.smtp_code == 535, e
        print(mechanism, secret == password, "done")

# poplib has no AUTH, so that its lines are written here.
for secret in (password, "wrong"):
    c = poplib.POP3("localhost", int(pop3), timeout=30)
    c.stls(tls)
    assert "PLAIN" in c.capa()["SASL"], c.capa()
    message = base64.b64encode(f"\0{user}\0{secret}".encode()).decode()
    try:
        c._shortcmd("AUTH PLAIN " + message)
        assert secret == password
    except poplib.error_proto as e:
        assert secret == "wrong" and b"[AUTH]" in e.args[0], e
    c.quit()

print("all done")
