package interop

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// letter is a message that two servers are asked about.
type letter struct{ name, text string }

// oracleLetters are odd messages: those that packages message and imap are
// tested with, the public vectors where they are found, and made ones, n in all.
func oracleLetters(t *testing.T, n int) (all []letter) {
	t.Helper()
	patterns := []string{"../message/testdata/*.eml", "../imap/testdata/*.eml"}
	vectors := os.Getenv("POSTA_VECTORS")
	if vectors == "" {
		vectors = "../../shared/vectors"
	}
	for _, pattern := range append(patterns, filepath.Join(vectors, "eml", "*", "*.eml")) {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, f := range files {
			text, err := os.ReadFile(f)
			require.NoError(t, err)
			messages := []string{crlf(string(text))}
			if strings.HasPrefix(pattern, "../imap") { // of which one file holds several
				messages = strings.Split(messages[0], "----\r\n")
			}
			for i, m := range messages {
				// What a literal cannot hold, and line ends that each server stores in
				// its own way, are no matter here.
				m = strings.NewReplacer("\x00", "?", "\r\n", "\r\n", "\r", "?").Replace(m)
				if m != "" { // which nobody takes
					all = append(all, letter{fmt.Sprintf("%s/%s#%d", filepath.Base(filepath.Dir(f)), filepath.Base(f), i), m})
				}
			}
		}
	}
	for i, m := range []string{"Subject: cut\r\n", "From: a@x.test\r\nSubject: cut", "Subject: cut\r\nTo: b@x.test\r\n\tfolded\r\n", "\r\n", "\r\nbody", "x"} {
		all = append(all, letter{fmt.Sprintf("cut#%d", i), m})
	}
	require.GreaterOrEqual(t, len(all), 40)
	w := writer{rand.New(rand.NewPCG(3501, 9051))}
	for i := 0; len(all) < n; i++ {
		all = append(all, letter{fmt.Sprintf("made#%d", i), w.message(0)})
	}
	return all
}

// writer makes messages up.
type writer struct{ *rand.Rand }

func (w writer) pick(list ...string) string { return list[w.IntN(len(list))] }

// maybe is the text in one of n cases, else nothing.
func (w writer) maybe(n int, text string) string {
	if w.IntN(n) > 0 {
		return ""
	}
	return text
}

func (w writer) addresses() string {
	var list []string
	for range 1 + w.IntN(3) {
		list = append(list, w.pick("a@x.test", "Zoe <z@x.test>", `"Quoted, \"Name\"" <q@x.test>`, "=?utf-8?q?J=C3=BCrgen?= <j@x.test>", "b@x.test (A comment)", `"odd local"@x.test`,
			"Group: one@x.test, Two <two@x.test>;", "Nobody:;", "<c@x.test>", "First\r\n Last <f@x.test>", "A. Dot <dot@x.test>", "d@[192.0.2.1]"))
	}
	return strings.Join(list, w.pick(", ", ",", ",\r\n "))
}

func (w writer) header() string {
	var b strings.Builder
	for _, f := range []string{"From", "To", "Cc", "Bcc", "Sender", "Reply-To"} {
		if w.IntN(3) > 0 {
			fmt.Fprintf(&b, "%s: %s\r\n", f, w.addresses())
		}
	}
	b.WriteString(w.maybe(2, "Subject: "+w.pick("lunch", "Re: plans for  May", "=?utf-8?q?caf=C3=A9?= au =?utf-8?b?bGFpdA==?=", "folded\r\n here and\r\n\tthere", "", `with "quotes" and \`, "=?utf-8?q?half?=\r\n =?utf-8?q?_and_half?=")+"\r\n"))
	b.WriteString(w.maybe(2, "Date: "+w.pick("Mon, 02 Nov 2026 10:11:12 +0100", "3 Nov 2026 23:30 -0800", "Wed,  4 Nov 2026 00:30:00 +1000 (zone)", "Tue, 3 Nov 26 10:00:00 EST", "Thu, 05 Nov 2026 10:00:00 GMT")+"\r\n"))
	b.WriteString(w.maybe(2, fmt.Sprintf("Message-ID: <%d.made@x.test>\r\n", w.IntN(1e6))))
	b.WriteString(w.maybe(3, fmt.Sprintf("In-Reply-To: <%d.made@x.test>\r\n", w.IntN(1e6))))
	b.WriteString(w.maybe(3, "X-Word: "+w.pick("needle in here", "", "folded\r\n needle", "=?iso-8859-1?q?n=E4del?=")+"\r\n"))
	return b.String()
}

// message is a header and a body; deeper ones are simpler.
func (w writer) message(depth int) string {
	return w.header() + "MIME-Version: 1.0\r\n" + w.part(depth)
}

// fields are the MIME fields that describe a part.
func (w writer) fields() string {
	return w.maybe(4, "Content-ID: <part@x.test>\r\n") + w.maybe(4, "Content-Description: "+w.pick("a thing", `a "thing"`, "=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "of two\r\n lines")+"\r\n") +
		w.maybe(3, "Content-Disposition: "+w.pick("inline", `attachment; filename="a b.txt"`, "attachment; filename=plain.bin; size=12", "ATTACHMENT", `attachment; filename*0="a"; filename*1="b.txt"`)+"\r\n") +
		w.maybe(6, "Content-Language: "+w.pick("en", "de, fr", "en,da")+"\r\n") + w.maybe(6, "Content-Location: http://x.test/a\r\n") + w.maybe(8, "Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==\r\n")
}

// part is the rest of a header, the empty line and the body.
func (w writer) part(depth int) string {
	kind := w.IntN(10)
	if depth > 3 {
		kind = 9
	}
	switch {
	case kind < 4:
		return w.multipart(depth)
	case kind < 6:
		return "Content-Type: " + w.pick("message/rfc822", "message/rfc822; name=m.eml", "Message/RFC822") + "\r\n" + w.fields() + "\r\n" + w.message(depth+1)
	}
	text := w.pick("needle\r\n", "one line\r\nand two\r\n", "no end of line", "", "\r\n", "the last, after\r\n\r\nempty lines\r\n\r\n", "caf\xc3\xa9 here\r\n")
	head := w.maybe(2, "Content-Type: "+w.pick("text/plain", "text/plain; charset=utf-8", "TEXT/HTML; CHARSET=\"US-ascii\"", "text/plain; charset=iso-8859-1; format=flowed", "application/octet-stream; name=\"a b\"", "image/png", `text/plain; name="a \"b\""`)+"\r\n")
	switch w.IntN(6) {
	case 0:
		head, text = head+"Content-Transfer-Encoding: base64\r\n", "bmVlZGxlIGluIGJhc2U2NA==\r\n"
	case 1:
		head, text = head+"Content-Transfer-Encoding: Quoted-Printable\r\n", "need=\r\nle, =6Eeedle=20\r\n"
	case 2:
		head += "Content-Transfer-Encoding: " + w.pick("7bit", "8bit", "binary") + "\r\n"
	}
	return head + w.fields() + "\r\n" + text
}

func (w writer) multipart(depth int) string {
	boundary := fmt.Sprintf("b%d.%d", depth, w.IntN(1000))
	var b strings.Builder
	fmt.Fprintf(&b, "Content-Type: multipart/%s;%sboundary=%s\r\n%s\r\n%s", w.pick("mixed", "alternative", "RELATED; type=\"text/html\"", "digest", "report; report-type=x"), w.pick(" ", "\r\n "), w.pick(boundary, `"`+boundary+`"`),
		w.fields(), w.maybe(3, "a preamble\r\n"))
	for range 1 + w.IntN(3) {
		fmt.Fprintf(&b, "--%s\r\n%s\r\n", boundary, w.part(depth+1))
	}
	if w.IntN(10) > 0 {
		fmt.Fprintf(&b, "--%s--\r\n%s", boundary, w.maybe(3, "an epilogue\r\n"))
	}
	return b.String()
}
