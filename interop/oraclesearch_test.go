package interop

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// searches are the commands of which both servers find the same.
var searches = []string{
	"ALL", "NOT ALL", "1,3:5,200:*", "UID 10:20", "SEEN", "UNSEEN", "FLAGGED", "KEYWORD $Work", "UNKEYWORD $Work", "NEW", "OLD", "ANSWERED OR DELETED DRAFT", "NOT (FLAGGED SEEN)",
	"SUBJECT lunch", "SUBJECT LUNCH", `SUBJECT "plans for"`, `SUBJECT "for  May"`, `SUBJECT "for May"`, "SUBJECT caf", "SUBJECT lait", `SUBJECT "au lait"`, `SUBJECT "here and"`, `SUBJECT "and there"`, `SUBJECT ""`, `SUBJECT "half_and"`, "SUBJECT half",
	"FROM zoe", "FROM z@x", "FROM x.test", `FROM "J"`, `FROM "first last"`, "FROM comment", `FROM "quoted, \"name\""`, `FROM "Zoe <z@"`, "TO group", `TO "odd local"`, "CC nobody", "BCC 192.0.2.1", `TO "one@x.test, two"`, `FROM ""`, `BCC ""`,
	`HEADER X-Word ""`, "HEADER X-Word needle", "HEADER x-word NEEDLE", `HEADER X-Word "folded needle"`, "HEADER Message-ID made", "HEADER In-Reply-To @x.test", `HEADER Content-Type ""`, "HEADER Content-Type multipart", "HEADER Content-Type B0", `HEADER Nothing ""`, "HEADER Subject lunch", "HEADER Reply-To x.test", "HEADER Sender dot", "HEADER Date nov",
	"BODY needle", "BODY NEEDLE", "BODY hello", `BODY "needle in base64"`, `BODY "n need"`, `BODY "le, neee"`, "BODY preamble", "BODY epilogue", "BODY boundary", `BODY "Content-Type"`, `BODY "one line"`, "BODY part@x.test", "BODY lunch", `BODY ""`,
	"TEXT needle", "TEXT lunch", "TEXT zoe", "TEXT MIME-Version", `TEXT "Content-Disposition"`, "TEXT flowed", "TEXT preamble", `TEXT "empty lines"`, "TEXT nowhere",
	"SINCE 5-Nov-2026", "BEFORE 5-Nov-2026", "ON 7-Nov-2026", "ON 20-Nov-2026 NOT SINCE 21-Nov-2026", "SENTSINCE 3-Nov-2026", "SENTBEFORE 3-Nov-2026", "SENTON 2-Nov-2026", "SENTON 3-Nov-2026", "SENTON 4-Nov-2026", "SENTON 5-Nov-2026", "SENTBEFORE 1-Jan-1990", "OR SENTON 2-Nov-2026 ON 2-Nov-2026",
	"LARGER 1000", "SMALLER 1000", "LARGER 0", "SMALLER 1", "LARGER 300 SMALLER 400", "NOT LARGER 500 NOT SMALLER 400",
	"OR FROM zoe (SUBJECT lunch LARGER 500)", "NOT FROM zoe SUBJECT lunch", "OR OR SUBJECT lunch SUBJECT plans NOT FROM x.test",
	"CHARSET UTF-8 SUBJECT {5+}\r\ncaf\xc3\xa9", "CHARSET UTF-8 SUBJECT {5+}\r\nCAF\xc3\x89", "CHARSET UTF-8 FROM {7+}\r\nj\xc3\xbcrgen", "CHARSET UTF-8 BODY {5+}\r\ncaf\xc3\xa9", "CHARSET UTF-8 HEADER X-Word {6+}\r\nn\xc3\xa4del", "CHARSET UTF-8 TEXT {7+}\r\ngr\xc3\xbc\xc3\x9fe", "CHARSET UTF-8 TEXT {7+}\r\nJ\xc3\x9cRGEN",
	"MODSEQ 1", "YOUNGER 1000000", "OLDER 1000000000",
}

// found are the numbers of a SEARCH response.
func found(t *testing.T, untagged [][]byte) (numbers []int) {
	t.Helper()
	for _, r := range untagged {
		rest, ok := strings.CutPrefix(string(r), "* SEARCH")
		if !ok {
			continue
		}
		rest, _, _ = strings.Cut(rest, "(")
		for _, f := range strings.Fields(rest) {
			n, err := strconv.Atoi(f)
			require.NoError(t, err, "%s", r)
			numbers = append(numbers, n)
		}
		slices.Sort(numbers)
		return numbers
	}
	t.Errorf("no SEARCH response in %q", untagged)
	return nil
}

// unequal are the searches about which the two differ, and why.
var unequal = []struct{ cmd, reason string }{
	{`^(OLD|NEW)$`, `RFC 9051 App. E: \Recent is gone; no message of ours ever is`},
	{`SENT`, "a message without a date, or with one that is none, is as old as its internal date, as RFC 5256 §2.2 has it for SORT; to Dovecot it is of 1970"},
	{`BODY`, "the header of an embedded message is part of the body of the one around it (RFC 5322 §2.1), and what is no known type, or no multipart although it says so, is text; Dovecot leaves these out"},
	{`TEXT "Content-Disposition"`, "a broken Content-Type: RFC 2045 §5.2, as for FETCH"},
	{`^TO "one@x.test, two"`, "RFC 9051 §6.4.4: the text of the field; Dovecot looks at addresses written anew"},
	{`^SUBJECT "for +May"`, "RFC 5322 §2.2.3: unfolding removes line ends, no white space; Dovecot has one space for several"},
}

// SEARCH finds what Dovecot's finds.
func TestDovecotSearch(t *testing.T) {
	t.Parallel()
	p := oraclePair(t)
	for _, k := range []*talk{p.ours, p.theirs} {
		k.do(`STORE 1:200 -FLAGS (\Seen)`)
		k.do(`STORE 2,4:20,70:99 +FLAGS (\Seen $Work)`)
		k.do(`STORE 3,10:30 +FLAGS (\Flagged)`)
		k.do(`STORE 5,50:60 +FLAGS (\Answered \Draft)`)
	}
	hits, used := 0, map[int]bool{}
	for _, cmd := range searches {
		var got [2][]int
		for i, k := range []*talk{p.ours, p.theirs} {
			answer, status := k.ask("SEARCH " + cmd)
			require.Equal(t, "OK", status, "%d: %q", i, cmd)
			got[i] = found(t, answer)
		}
		hits += len(got[0])
		if slices.Equal(got[0], got[1]) {
			continue
		}
		known := slices.IndexFunc(unequal, func(e struct{ cmd, reason string }) bool { return regexp.MustCompile(e.cmd).MatchString(cmd) })
		if known >= 0 && (unequal[known].cmd != "BODY" || !slices.ContainsFunc(got[1], func(n int) bool { return !slices.Contains(got[0], n) })) {
			used[known] = true
			continue
		}
		for n, m := range p.letters {
			if x, y := slices.Contains(got[0], n+1), slices.Contains(got[1], n+1); x != y {
				t.Errorf("SEARCH %q %s\n ours   %t\n theirs %t", cmd, m.name, x, y)
			}
		}
	}
	for i, e := range unequal {
		assert.True(t, used[i], "nothing differs: %s", e.cmd)
	}
	t.Logf("%d searches, %d hits", len(searches), hits)
}
