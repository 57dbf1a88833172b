package smtp

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/testsmuggle"
	"github.com/posta-mail/posta/internal/wire"
)

// pieces cuts a text; each octet of cuts is the length of a piece, the rest is
// the last one.
func pieces(text, cuts []byte) (list [][]byte) {
	for _, n := range cuts {
		if len(list) == 20 || int(n) > len(text) {
			break
		}
		list = append(list, bytes.Clone(text[:n]))
		text = text[n:]
	}
	return append(list, bytes.Clone(text))
}

// fits reports whether a text is within the limits of converse. A line that is
// not ended counts with the CRLF that it lacks.
func fits(text []byte) bool {
	for line := range bytes.Lines(text) {
		if len(bytes.TrimRight(line, "\r\n"))+2 > 200 {
			return false
		}
	}
	return len(text) <= 2000
}

// Whatever stands in a message and however it is cut into chunks or reads: it
// is accepted as it was sent, or refused, and no octet of it is a command. What
// a message is, a second reading of the rules says.
func FuzzBody(f *testing.F) {
	for i, c := range testsmuggle.Candidates() {
		if i%97 == 0 {
			f.Add(append([]byte("a"), c.Seq...), []byte{1, 1, 1}, false)
			f.Add(append(append([]byte("..a\r\n"), c.Seq...), "RSET\r\nQUIT\r\n"...), []byte{0, 5}, true)
		}
	}
	f.Add([]byte(strings.Repeat("x", 198)+"\r\n"), []byte{198, 1}, false)
	f.Add([]byte(strings.Repeat("x", 199)+"\r\n"), []byte{199, 1}, true)
	f.Add([]byte(strings.Repeat("xxxxxxxx\r\n", 200)), []byte{255, 255, 255}, false)
	f.Add([]byte(strings.Repeat("xxxxxxxx\r\n", 200)+"\r\n"), []byte{1}, true)
	f.Fuzz(func(t *testing.T, text, cuts []byte, lmtp bool) {
		hello := "EHLO x\r\n"
		if lmtp {
			hello = "LHLO x\r\n"
		}
		begin := hello + "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n"

		// By DATA.
		stream := append(bytes.Clone(text), "\r\n.\r\n"...)
		want := testsmuggle.Data(stream)
		stream = append(stream, "QUIT\r\n"...)
		input := append([][]byte{[]byte(begin + "DATA\r\n")}, pieces(stream, cuts)...)
		requireBody(t, input, lmtp, want.Text, !want.Refuse && fits(want.Text), len(want.Rest) == 0)

		// By BDAT.
		var chunks bytes.Buffer
		list := pieces(text, cuts)
		for i, chunk := range list {
			last := ""
			if i == len(list)-1 {
				last = " LAST"
			}
			fmt.Fprintf(&chunks, "BDAT %d%s\r\n%s", len(chunk), last, chunk)
		}
		chunks.WriteString("QUIT\r\n")
		input = [][]byte{[]byte(begin), chunks.Bytes()}
		whole := bytes.Clone(text)
		if n := len(text); n > 0 && !bytes.HasSuffix(text, []byte("\r\n")) {
			whole = append(whole, "\r\n"...) // the last line gets its end
		}
		requireBody(t, input, lmtp, whole, !testsmuggle.Bare(text) && fits(text), false)

		// And as octets that are not text.
		begin = strings.Replace(begin, "<a@example.com>", "<a@example.com> BODY=BINARYMIME", 1)
		input = [][]byte{[]byte(begin), chunks.Bytes()}
		requireBody(t, input, lmtp, text, len(text) <= 2000, false)
	})
}

// requireBody plays a message and requires that it is accepted or not. With
// alone nothing of it may have been taken for commands.
func requireBody(t *testing.T, input [][]byte, lmtp bool, text []byte, accept, alone bool) {
	t.Helper()
	clone := make([][]byte, len(input))
	for i, s := range input {
		clone[i] = bytes.Clone(s)
	}
	out, got := converseIn(t, clone, lmtp, false)
	again, bytewise := converseIn(t, input, lmtp, true)
	require.Equal(t, len(got), len(bytewise))
	for i := range got {
		require.Equal(t, got[i].body, bytewise[i].body)
	}
	require.Equal(t, out, again)
	if accept {
		require.NotEmpty(t, got, "accepted: %q", out)
		require.Equal(t, string(text), got[0].body)
	} else {
		require.Empty(t, got)
	}
	if alone {
		require.Regexp(t, `^(220 [^\n]*\n(250[- ][^\n]*\n)+354 [^\n]*\n)(250 [^\n]*\n221 |5\d\d [^\n]*\n(221 [^\n]*\n)?$)`, out, "one answer, then QUIT")
	}
}

// One command line, in each state: it gets one reply, of codes that belong
// together, and no state comes about by itself.
func FuzzCommand(f *testing.F) {
	for verb := range commands {
		f.Add(verb)
		f.Add(strings.ToLower(verb) + " x")
	}
	for _, s := range []string{"", " ", "MAIL FROM:<a@b> SIZE=99999999999999999999", "MAIL FROM:<a@b> SIZE=1 SIZE=1", "MAIL FROM: <a@b>", "RCPT TO:<@a,@b:c@d>", "STARTTLSXYZ", "MAILFROM:<a@b>",
		"BDAT 0 LAST", "BDAT -1", "BDAT 99999999999999999999", "VRFY \"a b\"", "GET / HTTP/1.0", "\x00", "NO\x00OP", "EHLO [IPv6:::1]", "AUTH PLAIN =", "\xff\xfe"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if strings.ContainsAny(line, "\r\n") || len(line) > maxCommandLine {
			return
		}
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		if verb == "DATA" || verb == "BDAT" || verb == "AUTH" {
			return // more than a line, FuzzSession has them
		}
		prelude := []string{"", "EHLO x\r\n", "MAIL FROM:<a@example.com>\r\n", "RCPT TO:<b@example.org>\r\n"}
		for i := range prelude {
			said := strings.Join(prelude[:i+1], "")
			before, _ := converseIn(t, [][]byte{[]byte(said)}, false, false)
			out, got := converseIn(t, [][]byte{[]byte(said), []byte(line + "\r\n")}, false, false)
			require.Empty(t, got)
			reply, ok := strings.CutPrefix(out, before)
			require.True(t, ok)
			r := wire.NewReader(strings.NewReader(reply), nil)
			answer, err := readReply(r.ReadLine)
			require.NoError(t, err, "%q", reply)
			_, err = r.ReadLine(1)
			require.ErrorIs(t, err, io.EOF, "more than one reply: %q", reply)
			if answer.Enhanced != (EnhancedCode{}) {
				require.Equal(t, answer.Code/100, answer.Enhanced[0])
			} else {
				require.Contains(t, []int{214, 250, 252}, answer.Code, "%q", reply)
			}
			if verb == "MAIL" || verb == "RCPT" {
				require.Equal(t, i == map[string]int{"MAIL": 1, "RCPT": 2}[verb] || verb == "RCPT" && i == 3, answer.Code != 503, "%q", reply)
			}
		}
	})
}

// A server's reply: the same in one read or octet by octet, and nothing of
// what follows it is taken.
func FuzzReadReply(f *testing.F) {
	for _, s := range []string{"250 ok\r\n", "250\r\n", "250-a\r\n250 b\r\n", "250-a\r\n251 b\r\n", "250-\r\n250-2.0.0\r\n250 2.0.0 x\r\n", "550 5.1.1 no\r\n250 next\r\n", "421 4.0\r\n", "354 3.0.0 go\r\n",
		"250 a\n", "250 a\rb\r\n", "199 x\r\n", "600 x\r\n", "25 x\r\n", "250x\r\n", "", "2", "250-a\r\n", "250 \x00\x7f\u0085\xff ü\r\n", strings.Repeat("250-x\r\n", 101) + "250 x\r\n", "250 " + strings.Repeat("x", 5000) + "\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		read := func(src io.Reader) (replies []Reply, err error) {
			r := wire.NewReader(src, nil)
			for {
				reply, err := readReply(r.ReadLine)
				if err != nil {
					return replies, err
				}
				replies = append(replies, reply)
			}
		}
		replies, err := read(bytes.NewReader(in))
		again, err2 := read(iotest.OneByteReader(bytes.NewReader(in)))
		require.Equal(t, replies, again)
		require.Equal(t, err, err2)
		// As many as there are lines that end a reply.
		last := 0
		for line := range bytes.Lines(in) {
			if len(line) < 4 || line[3] != '-' {
				last++
			}
		}
		require.LessOrEqual(t, len(replies), last)
		for _, r := range replies {
			require.True(t, r.Code >= 200 && r.Code <= 599)
			require.True(t, r.Enhanced == EnhancedCode{} || r.Enhanced[0] == r.Code/100)
			require.LessOrEqual(t, strings.Count(r.Text, "\n"), maxReplyLines)
			for _, c := range strings.ReplaceAll(r.Text, "\n", "") {
				require.False(t, isControl(c), "%q", r.Text)
			}
		}
	})
}
