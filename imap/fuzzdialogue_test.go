package imap_test

import (
	"bufio"
	"compress/flate"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/internal/testleak"
	"github.com/posta-mail/posta/store"
)

// program is what two clients do, as octets: each choice takes one.
type program struct {
	b []byte
	n int // connections' commands so far
}

func (p *program) done() bool { return len(p.b) == 0 || p.n > 60 }

// pick chooses one of n; 0 when the program has ended.
func (p *program) pick(n int) int {
	if len(p.b) == 0 {
		return 0
	}
	c := p.b[0]
	p.b = p.b[1:]
	return int(c) % n
}

func (p *program) one(words ...string) string { return words[p.pick(len(words))] }

// templates are commands; "%" and a letter stands for a choice.
var templates = []string{
	// What makes two sessions of one mailbox differ comes often.
	"EXPUNGE", "EXPUNGE", "EXPUNGE", `STORE 1:* +FLAGS (\Deleted)`, `STORE 1:2 +FLAGS.SILENT (\Deleted)`, `UID STORE 1:* +FLAGS (\Deleted)`, "APPEND INBOX \x01", "APPEND INBOX \x01", "APPEND INBOX \x01",
	"FETCH 1:* FLAGS", "FETCH 1:* (UID FLAGS)", "SEARCH ALL", "STORE 1 FLAGS (x)", "UID FETCH 1:* FLAGS", "UID MOVE 1:* Work", "SELECT Work", "SELECT INBOX",
	"NOOP", "CAPABILITY", "CHECK", "CLOSE", "UNSELECT", "EXPUNGE", "IDLE", "NAMESPACE", "LOGOUT", "UNAUTHENTICATE", "STARTTLS", "GETJMAPACCESS", "COMPRESS DEFLATE", "COMPRESS DEFLATE",
	"LOGIN %u %w", "AUTHENTICATE %a", "AUTHENTICATE PLAIN AGFubmEAc2VjcmV0", "ID NIL", `ID ("name" %m)`, "ENABLE %e", "ENABLE %e %e",
	"SELECT %b", "SELECT %b", "SELECT INBOX", "SELECT %b (CONDSTORE)", "SELECT %b (QRESYNC (1 %n %s (%s %s)))", "EXAMINE %b",
	"CREATE %b", "CREATE %b (USE (%f))", "DELETE %b", "RENAME %b %b", "SUBSCRIBE %b", "UNSUBSCRIBE %b",
	"LIST %b %p", "LIST (%l) %b (%p %p) RETURN (%r %r)", "LSUB %b %p", "STATUS %b (%t %t)",
	"APPEND %b %m", "APPEND %b (%f) %m", "APPEND %b %m %m", "APPEND %b CATENATE (TEXT %m URL /INBOX/;UID=%n)", "APPEND %b ~%m", "APPEND %b UTF8 (~%m)", "REPLACE %n %b %m", "UID REPLACE %n %b %m",
	"%x FETCH %s %i", "FETCH %s (%i %i)", "UID FETCH %s (%i %i)", "UID FETCH %s (%i) (CHANGEDSINCE %n VANISHED)", "FETCH %s %i (PARTIAL %g)",
	"STORE %s %q (%f %f)", "UID STORE %s %q (%f)", "UID STORE %s (UNCHANGEDSINCE %n) %q (%f)", "UID EXPUNGE %s",
	"SEARCH %k %k", "UID SEARCH %k", "%xSEARCH RETURN (%o %o) %k", "SEARCH CHARSET %c OR %k NOT (%k %k)",
	"SORT (%z REVERSE %z) %c %k", "UID SORT RETURN (%o) (%z) UTF-8 %k", "%xTHREAD %d %c %k",
	"COPY %s %b", "UID COPY %s %b", "MOVE %s %b", "UID MOVE %s %b", "UIDBATCHES %n", "UIDBATCHES %n %s",
	"SETACL %b %u %h", "DELETEACL %b %u", "GETACL %b", "LISTRIGHTS %b %u", "MYRIGHTS %b", "GETQUOTA %b", "GETQUOTAROOT %b", "SETQUOTA \"\" (STORAGE %n)",
	"GETMETADATA %b %v", "GETMETADATA (MAXSIZE %n DEPTH infinity) %b (%v %v)", "SETMETADATA %b (%v %m)", "SETMETADATA %b (%v NIL)",
	"RESETKEY %b INTERNAL", "GENURLAUTH \"imap://anna@x/INBOX/;UID=%n;URLAUTH=anonymous\" INTERNAL", "URLFETCH \"imap://anna@x/INBOX/;UID=%n\"",
	"NOTIFY NONE", "NOTIFY SET STATUS (selected (MessageNew (FLAGS) MessageExpunge FlagChange)) (personal (MessageNew MessageExpunge))", "ESEARCH IN (personal subtree %b) RETURN (%o) %k",
	"NOTIFY SET (%y (%j %j %j)) (%y (%j %j))", "NOTIFY SET STATUS (%y (MessageNew MessageExpunge FlagChange)) (%y (%j))", "NOTIFY SET (selected (MessageNew (%i) MessageExpunge))", "NOTIFY SET (subtree (%b %b) (MailboxName SubscriptionChange)) (mailboxes %b NONE)",
	"SEARCH RETURN (UPDATE ALL) %k", "CANCELUPDATE \"t1\"", "FETCH", "", " ", "UID", "DONE", "%m",
}

// choices are what the letters stand for. m is a string, s a set, k a key.
var choices = map[byte][]string{
	'u': {"anna", "bob", "nobody", "anyone", `""`, "$staff"}, 'w': {"secret", "wrong", "%m"}, 'a': {"PLAIN", "LOGIN", "SCRAM-SHA-256", "X", "PLAIN =", "PLAIN !"},
	'e': {"IMAP4rev2", "CONDSTORE", "QRESYNC", "UTF8=ACCEPT", "UIDONLY", "X"}, 'x': {"", "UID "},
	'b': {"INBOX", "inbox", "Work", "Work/a", `"a b"`, "Drafts", `""`, "&AOk-", "&", "%m", `"é"`, "nowhere", "Other&-", `"x/"`, "INBOX/a", `"Other Users/bob"`},
	'p': {"*", "%", "%m", `"W*"`, `""`, "*%*%a", "INBOX"}, 'l': {"SUBSCRIBED", "REMOTE", "SUBSCRIBED RECURSIVEMATCH", "SPECIAL-USE", ""},
	'r': {"CHILDREN", "SUBSCRIBED", "SPECIAL-USE", "STATUS (%t)", "MYRIGHTS", "METADATA (%v)", "X"}, 't': {"MESSAGES", "UNSEEN", "UIDNEXT", "SIZE", "HIGHESTMODSEQ", "DELETED", "RECENT", "MAILBOXID", "APPENDLIMIT"},
	'f': {`\Seen`, `\Deleted`, `\Flagged`, `$Junk`, "x", `\Recent`, `\Sent`, `\*`}, 'q': {"FLAGS", "+FLAGS", "-FLAGS", "+FLAGS.SILENT", "FLAGS.SILENT"},
	'n': {"1", "2", "3", "0", "500", "9223372036854775807", "4294967296", "%s"}, 's': {"1", "1:*", "2:3", "*", "5:1,2", "$", "4294967295", "1:4294967295", "0", "9:7", "%n"},
	'g': {"1:2", "-1:-2", "4:3", "0:1"}, 'i': {"FLAGS", "UID", "ENVELOPE", "BODYSTRUCTURE", "BODY[]", "BODY.PEEK[1.2]<0.5>", "BODY[HEADER.FIELDS (a b)]", "MODSEQ", "RFC822.SIZE", "PREVIEW", "BINARY[1]", "BINARY.SIZE[2]", "ALL", "EMAILID", "INTERNALDATE", "SAVEDATE", "RFC822"},
	'k': {"ALL", "SEEN", "UNSEEN", "%s", "UID %s", "SUBJECT %m", "TEXT body", "BODY %m", "HEADER x %m", "OR %k %k", "NOT %k", "(%k %k)", "MODSEQ %n", "LARGER %n", "SINCE 1-Jan-2020", "KEYWORD x", "OLDER 5", "EMAILID M1", "SAVEDSINCE 1-Jan-2020", "FUZZY %k", "FILTER x", "$"},
	'o': {"MIN", "MAX", "ALL", "COUNT", "SAVE", "PARTIAL %g", "UPDATE", "RELEVANCY"}, 'c': {"UTF-8", "US-ASCII", "ISO-8859-1", "KOI-9", "%m"}, 'z': {"DATE", "SUBJECT", "ARRIVAL", "FROM", "TO", "CC", "SIZE", "DISPLAYFROM", "X"},
	'y': {"selected", "selected-delayed", "inboxes", "personal", "subscribed", "subtree %b", "mailboxes (%b)", "x"},
	'j': {"MessageNew", "MessageNew (%i %i)", "MessageExpunge", "FlagChange", "MailboxName", "SubscriptionChange", "AnnotationChange", "MailboxMetadataChange", "ServerMetadataChange", "x"},
	'd': {"REFERENCES", "ORDEREDSUBJECT", "REFS", "X"}, 'h': {"lrs", "+w", "-w", "lrswipkxtecda", "?", "%m", `""`}, 'v': {"/private/comment", "/shared/x", "/shared", "/private/%%", "%m"},
}

// texts are contents of literals.
var texts = []string{"", "x", "Subject: a\r\n\r\nbody\r\n", "a\x00b", "\xff\xfe", "é", "{5}", "\r\n", "x} {3+}\r\n", "* OK\r\n", strings.Repeat("long ", 700), "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n1\r\n--b--\r\n", "b DONE\r\n"}

// script is a command in pieces: a piece that ends with the announcement of a
// literal is followed by one that begins with the literal.
type script struct{ pieces []string }

// command makes a command: a template, filled, then perhaps spoilt.
func (p *program) command(tag string) script {
	text, lits := p.fill(templates[p.pick(len(templates))], 0), []string{}
	for n := p.pick(8); n >= 6 && len(text) > 0; n-- { // spoil it
		at, c := p.pick(len(text)), byte(p.pick(256))
		if c == '\r' || c == '\n' || c == 1 || text[at] == 1 {
			continue
		}
		switch p.pick(3) {
		case 0:
			text = text[:at] + string([]byte{c}) + text[at+1:]
		case 1:
			text = text[:at] + text[at+1:]
		default:
			text = text[:at] + string([]byte{c}) + text[at:]
		}
	}
	s := script{}
	parts := strings.Split(text, "\x01")
	for i := range parts[1:] {
		lits = append(lits, texts[p.pick(len(texts))])
		parts[i] += fmt.Sprintf("{%d%s}", len(lits[i]), p.one("+", "+", ""))
	}
	for i, part := range parts {
		if i == 0 {
			part = tag + " " + part
		} else {
			part = lits[i-1] + part
		}
		s.pieces = append(s.pieces, part+"\r\n")
	}
	return s
}

// fill replaces letters by choices; a string that is a literal by the octet 1.
func (p *program) fill(t string, deep int) string {
	var b strings.Builder
	for i := 0; i < len(t); i++ {
		if t[i] != '%' || i+1 == len(t) {
			b.WriteByte(t[i])
			continue
		}
		i++
		words := choices[t[i]]
		switch {
		case t[i] == 'm':
			b.WriteString(p.one("\x01", `"q"`, `"\\"`, "atom", `"a b"`))
		case words == nil, deep > 6:
			b.WriteByte(t[i])
		default:
			b.WriteString(p.fill(p.one(words...), deep+1))
		}
	}
	return b.String()
}

// announced is a literal at the end of a line.
var announced = regexp.MustCompile(`\{([0-9]+)(\+?)\}\r\n$`)

// complete adds what the server waits for when a line that was spoilt ends with
// the announcement of a literal.
func (s *script) complete() {
	for range 5 {
		last := s.pieces[len(s.pieces)-1]
		m := announced.FindStringSubmatch(last)
		if m == nil {
			return
		}
		n, err := strconv.Atoi(m[1])
		if err != nil || n > 5000 {
			return // refused
		}
		s.pieces = append(s.pieces, strings.Repeat("x", n)+"\r\n")
	}
}

// talker is a client that takes nothing but the right answers.
type talker struct {
	t       testing.TB
	w       *world
	name    string
	c       net.Conn
	out     io.Writer     // of it, or compressed
	plain   *bufio.Reader // of it
	r       *bufio.Reader // of it, or of what is compressed
	last    string        // tagged answer
	log     *strings.Builder
	n       int      // commands
	done    int      // of them, on this connection
	waiting []string // tags to be answered
	idle    string   // the tag of IDLE
	utf8    bool
	// numbers: a command is being answered during which EXPUNGE is not told;
	// notified: NOTIFY may have allowed it.
	numbers, notified bool
	gone              bool
}

func (k *talker) fail(format string, args ...any) {
	k.t.Helper()
	k.t.Fatalf("%s\n%s: %s", k.log.String(), k.name, fmt.Sprintf(format, args...))
}

func (k *talker) connect() {
	c, err := k.w.dial(k.t.Context())
	require.NoError(k.t, err)
	k.done, k.notified, k.numbers = 0, false, false
	k.plain = bufio.NewReaderSize(c, 64<<10)
	k.c, k.out, k.r, k.waiting, k.idle, k.utf8, k.gone = c, c, k.plain, nil, "", false, false
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	k.read()
}

func (k *talker) send(s string) {
	fmt.Fprintf(k.log, "%s C: %.300q\n", k.name, s)
	if _, err := io.WriteString(k.out, s); err != nil && !k.gone {
		k.drain() // there must be a BYE
	}
}

// read reads one response; kind is empty at the end of the connection.
func (k *talker) read() (kind, text string) {
	var b strings.Builder
	for {
		line, err := k.r.ReadString('\n')
		b.WriteString(line)
		if (err == io.EOF || err == io.ErrUnexpectedEOF) && b.Len() == 0 { // DEFLATE is not ended
			if !k.gone {
				k.fail("the connection ends without BYE")
			}
			return "", ""
		}
		if err != nil {
			k.fail("%v after %q", err, b.String())
		}
		m := regexp.MustCompile(`~?\{(\d+)\}\r\n$`).FindStringSubmatch(line)
		if m == nil {
			break
		}
		n, _ := strconv.Atoi(m[1])
		if n > 1<<20 {
			k.fail("a literal of %d octets", n)
		}
		if _, err := io.CopyN(&b, k.r, int64(n)); err != nil {
			k.fail("literal: %v", err)
		}
	}
	text = b.String()
	fmt.Fprintf(k.log, "%s S: %.300q\n", k.name, text)
	if !strings.HasSuffix(text, "\r\n") {
		k.fail("no CRLF: %q", text)
	}
	text = strings.TrimSuffix(text, "\r\n")
	kind, err := readResponse(text, k.utf8)
	switch {
	case err != nil:
		k.fail("%v", err)
	case (kind == "EXPUNGE" || kind == "VANISHED") && k.numbers && len(k.waiting) == 1:
		k.fail("%s during a command whose answers are by number", text) // RFC 9051 §7.5.1
	case kind == "BYE":
		k.gone = true
	case kind == "ENABLED" && (strings.Contains(text, "UTF8=ACCEPT") || strings.Contains(text, "IMAP4rev2")):
		k.utf8 = true
	}
	return kind, text
}

// answered reads up to the tagged answer of the oldest command, or a
// continuation request, which it reports.
func (k *talker) answered() (request string) {
	for !k.gone || len(k.waiting) > 0 {
		kind, text := k.read()
		switch {
		case kind == "": // after BYE nothing more is answered
			_ = k.c.Close()
			k.connect()
			return ""
		case kind == "+":
			return text
		case len(k.waiting) > 0 && kind == k.waiting[0]:
			k.waiting, k.last = k.waiting[1:], text
			if k.gone {
				k.drain()
			}
			return ""
		case strings.HasPrefix(kind, k.name):
			k.fail("%s is not the answer to %v", text, k.waiting)
		}
	}
	k.drain()
	return ""
}

// drain reads to the end of a connection on which BYE was said.
func (k *talker) drain() {
	for {
		kind, text := k.read()
		if kind == "" {
			break
		}
		if len(k.waiting) > 0 && kind == k.waiting[0] {
			k.waiting = k.waiting[1:]
		} else if strings.HasPrefix(kind, k.name) {
			k.fail("%s is not the answer to %v", text, k.waiting)
		}
	}
	_ = k.c.Close()
	k.connect()
}

// rest reads until all commands are answered.
func (k *talker) rest() {
	for len(k.waiting) > 0 {
		switch request := k.answered(); {
		case request == "":
		case request == "+ idling":
			k.idle, k.waiting = k.waiting[0], k.waiting[1:]
			k.wake()
		default:
			k.send("*\r\n")
		}
	}
}

// wake ends IDLE.
func (k *talker) wake() {
	if k.idle == "" {
		return
	}
	k.waiting, k.idle = append([]string{k.idle}, k.waiting...), ""
	k.send("DONE\r\n")
	if k.answered() != "" {
		k.fail("a request in place of the end of IDLE")
	}
}

// switches makes compression begin and end as the server does.
func (k *talker) switches(cmd, tag string) {
	if !strings.HasPrefix(k.last, tag+" OK ") {
		return
	}
	switch word := strings.ToUpper(cmd); {
	case strings.HasPrefix(word, strings.ToUpper(tag)+" COMPRESS"):
		z, err := flate.NewWriter(k.c, 6)
		require.NoError(k.t, err)
		k.out, k.r = &deflating{w: z}, bufio.NewReader(flate.NewReader(k.plain))
	case strings.HasPrefix(word, strings.ToUpper(tag)+" UNAUTHENTICATE"): // RFC 8437 §3
		k.done = 0
		k.out, k.r = k.c, k.plain
	}
}

// byNumber are the commands during which no number may change its meaning.
var byNumber = regexp.MustCompile(`(?i)^\S+ (FETCH|STORE|SEARCH|SORT|THREAD) `)

// run executes one command, or leaves it without having read the answer.
func (k *talker) run(s script, tag string, ahead bool) {
	k.wake()
	s.complete()
	k.notified = k.notified || strings.Contains(strings.ToUpper(s.pieces[0]), "NOTIFY SET") // RFC 5465 §5.2
	k.numbers = false
	defer func() { k.numbers = false }()
	k.waiting = append(k.waiting, tag)
	if ahead && len(s.pieces) == 1 && !strings.Contains(s.pieces[0], "}\r\n") && !regexp.MustCompile(`(?i)idle|authenticate|starttls|logout|unauth|compress`).MatchString(s.pieces[0]) {
		k.send(s.pieces[0])
		return
	}
	c := k.c
	if len(k.waiting) > 1 {
		first := k.waiting[:len(k.waiting)-1]
		k.waiting = append([]string(nil), first...)
		k.rest()
		if k.c != c {
			return // it has ended, the command is never sent
		}
		k.waiting = []string{tag}
	}
	k.numbers = byNumber.MatchString(s.pieces[0]) && !k.notified
	for i, piece := range s.pieces {
		k.send(piece)
		if k.c != c {
			return
		}
		m := announced.FindStringSubmatch(piece)
		if m == nil || i == len(s.pieces)-1 || m[2] == "+" {
			continue
		}
		if k.answered() == "" { // refused
			if k.c == c && len(k.waiting) > 0 {
				k.fail("neither requested nor refused")
			}
			return
		}
	}
	defer func() {
		if k.c == c && len(k.waiting) == 0 {
			k.switches(s.pieces[0], tag)
		}
	}()
	for k.c == c && len(k.waiting) > 0 {
		switch request := k.answered(); {
		case request == "" || k.c != c:
		case request == "+ idling":
			k.idle, k.waiting = tag, nil
			return
		default:
			k.send("*\r\n")
		}
	}
}

// play runs a program on two connections of one account, and makes sure that
// every command gets its one answer.
func play(t testing.TB, b []byte) {
	testleak.Check(t)
	w := newWorld(t, func(s *imap.Server) {
		s.MaxMessageBytes, s.MaxCommandBytes, s.MaxBadCommands, s.MaxLoginFailures = 3000, 9000, -1, -1
		s.JMAP = "https://x/"
	})
	w.fill("anna", store.Inbox, 4)
	w.deliver("anna", store.Inbox, texts[11], w.since)
	p := &program{b: b}
	log := new(strings.Builder)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	talkers := []*talker{{t: t, w: w, name: "x", log: log}, {t: t, w: w, name: "y", log: log}}
	for _, k := range talkers {
		k.connect()
	}
	for ; !p.done(); p.n++ {
		k := talkers[p.pick(2)]
		k.n++
		k.done++
		tag := k.name + strconv.Itoa(k.n)
		s, ahead := script{[]string{tag + " LOGIN anna secret\r\n"}}, false
		switch {
		case k.done == 1 && p.pick(16) > 0:
		case k.done == 2 && p.pick(8) > 0:
			s = script{[]string{tag + " SELECT INBOX\r\n"}}
		default:
			ahead = p.pick(4) == 0
			s = p.command(tag)
		}
		k.run(s, tag, ahead)
	}
	for _, k := range talkers {
		k.wake()
		k.rest()
		_ = k.c.Close()
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 256<<20 {
		t.Fatalf("%s\n%d octets allocated", log.String(), n)
	}
}

// FuzzDialogue lets two clients say what comes to mind, well and ill formed.
// Every command gets exactly one tagged answer, in order; all responses are well
// formed; nothing is left behind.
func FuzzDialogue(f *testing.F) {
	for i := range templates { // each alone, then with another behind it
		f.Add([]byte{0, 1, 0, 1, 1, 1, 1, 1, 0, 1, byte(i), 0, 0, 0, 0, 0, 0, 0, 1, 1, byte(i), 3, 1, 2, 4, 5, 1, 7, 2, 0, 1, byte(i * 3), 9, 9, 9, 9, 9, 9})
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 2000 {
			play(t, b)
		}
	})
}

// TestDialogueRandom is FuzzDialogue over programs by chance.
func TestDialogueRandom(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	for i := range 150 {
		rnd := rand.New(rand.NewPCG(seed, uint64(i)))
		b := make([]byte, 1000)
		for j := range b {
			b[j] = byte(rnd.Uint32())
		}
		if !t.Run("", func(t *testing.T) { play(t, b) }) {
			t.Fatalf("seed %d, %d", seed, i)
		}
	}
}
