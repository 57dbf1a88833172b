package interop

import (
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pair are the two servers with the same mailbox selected.
type pair struct {
	ours, theirs *talk
	letters      []letter
}

func oraclePair(t *testing.T) pair {
	t.Helper()
	s, d := start(t), startDovecot(t, "")
	p := pair{letters: oracleLetters(t, 200)}
	for _, peer := range []struct {
		k     **talk
		open  func() *talk
		first string
	}{
		// RFC 9755 §3: without that, no APPEND of a header with other than ASCII.
		{&p.ours, func() *talk { return talkTo(t, s.addrs["imaps"], alice, alicePassword) }, "ENABLE UTF8=ACCEPT"},
		{&p.theirs, func() *talk { return talkTo(t, d.imaps, "anna", dovecotPassword) }, "NOOP"},
	} {
		k := peer.open()
		k.do(peer.first)
		k.do("CREATE Odd")
		for i, m := range p.letters {
			k.do(fmt.Sprintf("APPEND Odd %q {%d+}\r\n%s", arrival(i).Format("02-Jan-2006 15:04:05 -0700"), len(m.text), m.text))
		}
		*peer.k = peer.open()
		(*peer.k).do("SELECT Odd")
	}
	return p
}

// arrival is the internal date of a message, in one of five time zones.
func arrival(i int) time.Time {
	return time.Date(2026, 11, 1+i%20, i%24, 0, 0, 0, time.FixedZone("", (i%5-2)*3600))
}

// FETCH gives what Dovecot's gives.
func TestDovecotFetch(t *testing.T) {
	t.Parallel()
	p := oraclePair(t)
	items := []string{"RFC822.SIZE", "ENVELOPE", "BODY", "BODYSTRUCTURE", "RFC822", "RFC822.HEADER", "RFC822.TEXT", "BODY.PEEK[]", "BODY.PEEK[HEADER]", "BODY.PEEK[TEXT]",
		"BODY.PEEK[]<0.10>", "BODY.PEEK[]<100.50>", "BODY.PEEK[TEXT]<5.1000000>", "BODY.PEEK[HEADER]<99999.5>",
		"BODY.PEEK[HEADER.FIELDS (SUBJECT FROM)]", "BODY.PEEK[HEADER.FIELDS.NOT (SUBJECT FROM)]", "BODY.PEEK[HEADER.FIELDS (X-Word X-None)]<3.9>"}
	for _, path := range []string{"1", "2", "3", "1.1", "1.2", "2.1", "1.1.1", "2.1.1", "9"} {
		for _, what := range []string{"", ".MIME", ".HEADER", ".TEXT", ".HEADER.FIELDS (CONTENT-TYPE TO)"} {
			items = append(items, "BODY.PEEK["+path+what+"]")
		}
	}
	ours, theirs := p.fetch(p.ours, items), p.fetch(p.theirs, items)
	used := map[int]bool{}
	for i, m := range p.letters {
		for _, item := range items {
			name := strings.Replace(item, "BODY.PEEK", "BODY", 1)
			if at := strings.IndexByte(name, '<'); at > 0 { // the answer has no length
				name = name[:strings.LastIndexByte(name, '.')] + ">"
			}
			x, y := ours[i+1][strings.ToUpper(name)], theirs[i+1][strings.ToUpper(name)]
			if plain(name, x) != plain(name, y) && !excused(m, name, x, y, theirs[i+1], used) {
				t.Errorf("%s %s\n ours   %s\n theirs %s", m.name, name, x, y)
			}
		}
	}
	for i, e := range excuses {
		if !strings.Contains(e.letters, "rfc/") {
			assert.True(t, used[i], "nothing differs: %s", e.reason)
		}
	}
}

// fetch are all items of all messages as a server tells them.
func (p pair) fetch(k *talk, items []string) map[int]map[string]string {
	k.t.Helper()
	all := map[int]map[string]string{}
	for _, item := range items {
		answers, status := k.ask("FETCH 1:* (" + item + ")")
		assert.Equal(k.t, "OK", status, item)
		for i, values := range fetched(k.t, answers) {
			if all[i] == nil {
				all[i] = map[string]string{}
			}
			maps.Copy(all[i], values)
		}
	}
	require.Len(k.t, all, len(p.letters))
	return all
}

// excuses are the letters about which the two differ, with the RFC that we go by,
// or what it leaves open. One that is not needed fails the test.
var excuses = []struct{ letters, items, reason string }{
	{`/(14-duplicates|019)\.eml`, `ENVELOPE`, "RFC 5322 §3.6 allows one Subject, Date and From; of several we take the first, Dovecot the last or all"},
	{`/19-encoded-names\.eml`, `ENVELOPE`, "an address without local part is no address: RFC 5322 §3.4; what stands for it is nowhere said"},
	{`/(03-messages\.eml|binary\.eml#[34])`, `BODY`, "message/global (RFC 6532) may be told like message/rfc822: RFC 9755 §3; and the empty line of 2046 below"},
	{`/(mixed|022|11-header-cut)\.eml|made#(4|10|68|89|92|97)$`, `BODY(STRUCTURE)?$|BODY.2.HEADER.FIELDS`, "RFC 2046 §5.1.1: the CRLF before a boundary belongs to the boundary, not to the message before it"},
	{`/(05-no-boundary|06-boundary-absent|002|017)\.eml`, `BODY`, "a multipart of which no part is found: RFC 2046 §5.1.1 wants one; we show all as text, Dovecot nothing, or another type"},
	{`/(07-boundary-prefix|21-lookalikes|004|007|016)\.eml`, `BODY`, "RFC 2046 §5.1.1: a delimiter is the whole line, white space at its end apart; Dovecot takes any line that begins like one, and of long ones only 70 octets"},
	{`/(13-base64-message|008)\.eml|made#(26|91)$`, `BODY`, "RFC 2046 §5.2.1: message/rfc822 is never encoded; such a part is opaque to us (RFC 2045 §6.4)"},
	{`/20-bad-type\.eml`, `BODY`, "RFC 2045 §5.2: what cannot be parsed is text/plain"},
	{`/(24-2231|02-attachment)\.eml`, `BODY`, "RFC 9051 §7.5.2 wants RFC 2231 decoded; of two parameters with one name we tell the first"},
	{`/binary\.eml#[01]`, `BODY`, "RFC 2045 §4 leaves open what a missing MIME-Version means; Dovecot ignores all other fields then"},
	{`rfc/009\.eml`, `BODY`, "a phrase without address: RFC 5322 §3.4; what stands for it is nowhere said"},
	{`/(04-digest|27-empty-parts|11-header-cut|00[01])\.eml`, `BODY.[0-9.]+MIME`, "RFC 2046 §5.1.1: the CRLF that ends an empty header and begins a delimiter; we tell it with the header as well"},
	{`/(16-no-header|headers)\.eml|cut#`, `BODY.HEADER.FIELDS \(`, "RFC 9051 §6.4.5.1: no empty line where the message has neither one nor a body; Dovecot has one in FIELDS and none in FIELDS.NOT"},
	{`cut#5`, `BODY.HEADER.FIELDS.NOT`, "a header line cut off by the end of the message is told with its end"},
}

// excused are differences where one is right by an RFC, or neither wrong.
func excused(m letter, item, x, y string, theirs map[string]string, used map[int]bool) bool {
	for i, e := range excuses {
		if regexp.MustCompile(e.letters).MatchString(m.name) && regexp.MustCompile("^(?:"+e.items+")").MatchString(item) {
			used[i] = true
			return true
		}
	}
	number, _, ok := strings.Cut(strings.TrimPrefix(item, "BODY["), ".MIME]")
	if !ok {
		number = strings.TrimSuffix(number, "]")
	}
	// RFC 9051 §6.4.5.1 numbers the parts of multiparts and messages only; Dovecot
	// lets 1 of anything else be the thing itself.
	if x == "NIL" {
		for strings.HasSuffix(number, ".1") {
			number = strings.TrimSuffix(number, ".1")
			if name := "BODY[" + number + "]"; theirs[name] == y || ok && theirs["BODY["+number+".MIME]"] == y {
				return true
			}
		}
		return false
	}
	// RFC 2046 §5.1.1, as above.
	s, err := strconv.Unquote(x)
	return err == nil && strconv.Quote(s+"\r\n") == y && strings.Contains(m.text, s+"\r\n--")
}

// plain leaves out what the RFCs leave to servers.
func plain(item, v string) string {
	if strings.HasPrefix(item, "BODY[") && v == "NIL" {
		return `""` // RFC 9051 §6.4.5: what is not there is NIL or empty
	}
	if item != "ENVELOPE" && item != "BODY" && item != "BODYSTRUCTURE" {
		return v
	}
	return freedoms.Replace(spaces.ReplaceAllString(strings.ToLower(v), " "))
}

var spaces = regexp.MustCompile(`(?: |\\t)+`)
var freedoms = strings.NewReplacer(`("charset" "us-ascii")`, "nil", ` "charset" "us-ascii"`, "", `"charset" "us-ascii" `, "", ".missing-host-name.", "missing_domain")
