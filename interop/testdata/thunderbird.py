"""Thunderbird, driven by its remote protocol: PROFILE CERT IMAPS SMTP USER PASSWORD

Reads lists of folders and messages as a person would make them, changes them, and
prints what the program itself shows.
"""
import json
import os
import smtplib
import socket
import subprocess
import sys
import time

profile, cert, imaps, smtp, user, password = sys.argv[1:]


class Marionette:
    """Messages are [type, id, command, parameters], as netstrings."""

    def __init__(self, port):
        self.s, self.id, self.buf = socket.create_connection(("127.0.0.1", port), 120), 0, b""
        self.receive()
        self.call("WebDriver:NewSession", {})
        self.call("WebDriver:SetTimeouts", {"script": 90000})
        self.call("Marionette:SetContext", {"value": "chrome"})

    def more(self):
        d = self.s.recv(65536)
        if not d:
            raise EOFError
        self.buf += d

    def receive(self):
        while b":" not in self.buf:
            self.more()
        n, self.buf = self.buf.split(b":", 1)
        while len(self.buf) < int(n):
            self.more()
        m, self.buf = self.buf[:int(n)], self.buf[int(n):]
        return json.loads(m)

    def call(self, name, params):
        self.id += 1
        b = json.dumps([0, self.id, name, params]).encode()
        self.s.sendall(b"%d:%s" % (len(b), b))
        _, _, error, result = self.receive()
        if error:
            raise RuntimeError(json.dumps(error)[:2000])
        return result


PRELUDE = """
const done = arguments[arguments.length - 1], args = arguments;
const {MailServices} = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const wait = f => new Promise((resolve, reject) => {
  const began = Date.now();
  const t = setInterval(() => {
    let v;
    try { v = f(); } catch (e) { clearInterval(t); reject(e); return; }
    if (v) { clearInterval(t); resolve(v); }
    else if (Date.now() - began > 60000) { clearInterval(t); reject(new Error("timed out: " + f)); }
  }, 50);
});
const server = MailServices.accounts.accounts[0]?.incomingServer;
const box = name => {
  const f = server.rootFolder.subFolders.find(f => f.name == name);
  if (!f) throw new Error("no folder " + name);
  return f.QueryInterface(Ci.nsIMsgImapMailFolder);
};
const ended = async start => {
  const l = { QueryInterface: ChromeUtils.generateQI(["nsIMsgCopyServiceListener", "nsIUrlListener"]),
    OnStartRunningUrl() {}, OnStopRunningUrl(u, s) { this.done = true; this.status = s; },
    onStartCopy() {}, onProgress() {}, setMessageKey() {}, getMessageId() { return ""; }, onStopCopy(s) { this.done = true; this.status = s; } };
  start(l);
  await wait(() => l.done);
  if (l.status) throw new Error("status " + l.status.toString(16));
};
const update = f => ended(l => f.updateFolderWithListener(null, l));
const list = f => [...f.messages].map(m => [m.mime2DecodedSubject, m.isRead ? "read" : "", m.isFlagged ? "flagged" : "", m.getStringProperty("keywords")].join("|")).sort();
const by = (f, ...subjects) => subjects.map(s => [...f.messages].find(m => m.mime2DecodedSubject == s));
const inbox = server && box("INBOX");
(async () => { %s })().then(v => done({ok: v ?? null}), e => done({error: String(e) + "\\n" + e?.stack}));
"""


def js(body, *args):
    v = m.call("WebDriver:ExecuteAsyncScript", {"script": PRELUDE % body, "args": list(args), "newSandbox": True, "sandbox": "system"})["value"]
    if "error" in v:
        raise RuntimeError(v["error"])
    return v["ok"]


def step(name, want, body, *args):
    got = js(body, *args)
    print(name, got, flush=True)
    assert got == want, "%s: %r, not %r" % (name, got, want)


def deliver(subject):
    with smtplib.SMTP("127.0.0.1", int(smtp), local_hostname="client.test", timeout=30) as c:
        c.sendmail("bob@peer.test", [user], "From: bob@peer.test\r\nTo: %s\r\nSubject: %s\r\nMessage-ID: <%s@peer.test>\r\nDate: Mon, 02 Nov 2026 10:00:00 +0000\r\n\r\nhello %s\r\n" % (user, subject, subject, subject))


s = socket.create_server(("127.0.0.1", 0))
port = s.getsockname()[1]
s.close()
with open(os.path.join(profile, "user.js"), "w") as f:
    f.write('user_pref("marionette.port", %d);\nuser_pref("app.update.enabled", false);\nuser_pref("mail.provider.suppress_dialog_on_startup", true);\n'
            'user_pref("mailnews.start_page.enabled", false);\nuser_pref("datareporting.policy.dataSubmissionEnabled", false);\nuser_pref("network.proxy.type", 0);\n' % port)
program = subprocess.Popen(["thunderbird", "--headless", "--marionette", "-remote-allow-system-access", "--profile", profile], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    until = time.time() + 120
    while True:
        try:
            m = Marionette(port)
            break
        except OSError:
            assert program.poll() is None and time.time() < until, "Thunderbird did not start"
            time.sleep(0.2)
    print(js("return Services.appinfo.name + ' ' + Services.appinfo.version"), flush=True)
    js("""
const cert = Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB).constructX509FromBase64(args[3]);
Cc["@mozilla.org/security/certoverride;1"].getService(Ci.nsICertOverrideService).rememberValidityOverride("localhost", args[0], {}, cert, false);
const s = MailServices.accounts.createIncomingServer(args[1], "localhost", "imap");
s.port = args[0]; s.socketType = 3; s.authMethod = 3; s.password = args[2]; s.doBiff = false;
const identity = MailServices.accounts.createIdentity();
identity.email = args[1];
const account = MailServices.accounts.createAccount();
account.addIdentity(identity);
account.incomingServer = s;
""", int(imaps), user, password, "".join(open(cert).read().split("-----")[2].split()))
    step("folders", ["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"],
         "server.performExpand(null); await wait(() => server.rootFolder.subFolders.length >= 6); return server.rootFolder.subFolders.map(f => f.name).sort()")
    for subject in ("one", "two", "three"):
        deliver(subject)
    step("headers", ["one|||", "three|||", "two|||"], "await update(inbox); return list(inbox)")
    step("body", "hello two", """
const {NetUtil} = ChromeUtils.importESModule("resource://gre/modules/NetUtil.sys.mjs");
const uri = inbox.getUriForMsg(by(inbox, "two")[0]);
let text = "", end = false;
MailServices.messageServiceFromURI(uri).streamMessage(uri, {QueryInterface: ChromeUtils.generateQI(["nsIStreamListener"]),
  onStartRequest() {}, onStopRequest() { end = true; }, onDataAvailable(r, s, o, n) { text += NetUtil.readInputStreamToString(s, n); }}, null, null, false, "", false);
await wait(() => end);
return text.trim().split("\\n").pop().trim();""")
    step("flags", ["one|||", "three||flagged|$label1", "two|read||"], """
inbox.markMessagesRead(by(inbox, "two"), true);
inbox.markMessagesFlagged(by(inbox, "three"), true);
inbox.addKeywordsToMessages(by(inbox, "three"), "$label1");
await update(inbox);
return list(inbox);""")
    step("create", True, """server.rootFolder.createSubfolder("Grüße & mehr", null);
await wait(() => server.rootFolder.subFolders.find(f => f.name == "Grüße & mehr"));
await update(box("Grüße & mehr"));
return true;""")
    step("copy", ["one|||", "two|read||"], """const to = box("Grüße & mehr");
await ended(l => MailServices.copy.copyMessages(inbox, by(inbox, "one", "two"), to, false, l, null, false));
await update(to);
return list(to);""")
    step("move", [["one|||"], ["three||flagged|$label1", "two|read||"]], """const to = box("Junk");
await ended(l => MailServices.copy.copyMessages(inbox, by(inbox, "one"), to, true, l, null, false));
await update(to); await update(inbox);
return [list(to), list(inbox)];""")
    draft = os.path.join(profile, "draft.eml")
    with open(draft, "w", newline="") as f:
        f.write("From: %s\r\nTo: bob@posta.test\r\nSubject: draft\r\nMessage-ID: <d@client.test>\r\nDate: Mon, 02 Nov 2026 10:00:00 +0000\r\n\r\nnot done\r\n" % user)
    step("append", ["draft|read||"], """
const {FileUtils} = ChromeUtils.importESModule("resource://gre/modules/FileUtils.sys.mjs");
const to = box("Drafts");
await ended(l => MailServices.copy.copyFileMessage(new FileUtils.File(args[0]), to, null, true, Ci.nsMsgMessageFlags.Read, "", l, null));
await update(to);
return list(to);""", draft)
    step("search", ["three", "two"], """
const s = Cc["@mozilla.org/messenger/searchSession;1"].createInstance(Ci.nsIMsgSearchSession);
const t = s.createTerm(), v = t.value;
v.attrib = t.attrib = Ci.nsMsgSearchAttrib.Body; v.str = "hello"; t.value = v; t.op = Ci.nsMsgSearchOp.Contains; t.booleanAnd = true;
s.appendTerm(t);
s.addScopeTerm(Ci.nsMsgSearchScope.onlineMail, inbox);
const l = { hits: [], onSearchHit(m) { this.hits.push(m.mime2DecodedSubject); }, onSearchDone() { this.done = true; }, onNewSearch() {} };
s.registerListener(l, Ci.nsIMsgSearchSession.allNotifications);
s.search(null);
await wait(() => l.done);
return l.hits.sort();""")
    step("delete", [["two|read||"], ["three||flagged|$label1"]], """const to = box("Trash");
await ended(l => inbox.deleteMessages(by(inbox, "two"), null, false, true, l, false));
await update(to); await update(inbox);
return [list(to), list(inbox)];""")
    step("rename", True, """box("Grüße & mehr").rename("Umbenannt", null);
await wait(() => server.rootFolder.subFolders.find(f => f.name == "Umbenannt"));
return true;""")
    js("await update(inbox)")
    deliver("four")  # nobody asks: IDLE tells
    step("idle", ["four|||", "three||flagged|$label1"], """await wait(() => by(inbox, "four")[0]); return list(inbox)""")
    js("await ended(l => inbox.expunge(l, null))")
    print("\nall done\n", flush=True)
finally:
    program.terminate()
    program.wait(30)
