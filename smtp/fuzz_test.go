package smtp

import (
	"bytes"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
)

// scriptConn is a connection whose input is known beforehand.
type scriptConn struct {
	segments [][]byte
	bytewise bool
	out      bytes.Buffer
	closed   chan struct{}
	once     sync.Once
}

func (c *scriptConn) Read(p []byte) (int, error) {
	for len(c.segments) > 0 && len(c.segments[0]) == 0 {
		c.segments = c.segments[1:]
	}
	if len(c.segments) == 0 {
		return 0, io.EOF
	}
	if c.bytewise && len(p) > 1 {
		p = p[:1]
	}
	n := copy(p, c.segments[0])
	c.segments[0] = c.segments[0][n:]
	return n, nil
}

func (c *scriptConn) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *scriptConn) Close() error                     { c.once.Do(func() { close(c.closed) }); return nil }
func (c *scriptConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *scriptConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *scriptConn) SetDeadline(time.Time) error      { return nil }
func (c *scriptConn) SetReadDeadline(time.Time) error  { return nil }
func (c *scriptConn) SetWriteDeadline(time.Time) error { return nil }

// oneListener accepts one connection.
type oneListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *oneListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *oneListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *oneListener) Addr() net.Addr { return &net.TCPAddr{} }

// converse plays input against a fresh server and returns what it said and
// what it accepted.
func converse(t *testing.T, input []byte, lmtp, bytewise bool) (string, []received) {
	return converseIn(t, segments(input), lmtp, bytewise)
}

// converseIn is converse with an input that comes in given pieces, each when
// the server has answered what was before.
func converseIn(t *testing.T, input [][]byte, lmtp, bytewise bool) (string, []received) {
	h := &testHandler{ext: allExtensions()}
	done := make(chan struct{})
	s := &Server{Hostname: "mx.example.org", Handler: h, LMTP: lmtp, Auth: testAuth{}, InsecureAuth: true,
		Governor: &auth.Governor{Off: true}, MaxMessageBytes: 2000, MaxLineLength: 200, MaxRecipients: 5,
		Trace: &Trace{Close: func(auth.Peer, error) { close(done) }}}
	l := &oneListener{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
	c := &scriptConn{segments: input, bytewise: bytewise, closed: make(chan struct{})}
	l.conns <- c
	go func() { _ = s.Serve(l) }()
	<-done
	<-c.closed
	require.NoError(t, s.Shutdown(t.Context()))
	require.Zero(t, s.shared.budget.Used(), "memory is given back")
	require.Equal(t, h.sessions, h.closed)
	return clock.ReplaceAllString(c.out.String(), "FUTURERELEASE 3600 then"), h.messages()
}

// clock is what depends on the time of the answer.
var clock = regexp.MustCompile(`FUTURERELEASE 3600 [0-9TZ:-]+`)

// segments cuts the input where a client has to wait for a reply: what comes
// together with DATA is a violation, however it is cut.
func segments(input []byte) [][]byte {
	var list [][]byte
	start := 0
	for line := range bytes.Lines(input) {
		start += len(line)
		if len(line) >= 4 && strings.EqualFold(string(line[:4]), "DATA") {
			list = append(list, bytes.Clone(input[:start]))
			input, start = input[start:], 0
		}
	}
	return append(list, bytes.Clone(input))
}

// Whatever a client sends, in one piece or octet by octet, gets the same
// answers, and no message is accepted that has a bare CR or LF.
func FuzzSession(f *testing.F) {
	hello := "EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n"
	for _, s := range []string{
		"QUIT\r\n", "NOOP\r\nRSET\r\nHELP\r\nVRFY x\r\nEXPN\r\n", hello + "DATA\r\nSubject: x\r\n\r\n..x\r\n.\r\nQUIT\r\n",
		hello + "DATA\r\nx\n.\r\nMAIL FROM:<>\r\n.\r\n", hello + "DATA\r\n" + strings.Repeat("x", 300) + "\r\n.\r\nNOOP\r\n",
		hello + "DATA\r\n" + strings.Repeat("xxxxxxxxx\r\n", 300) + ".\r\nNOOP\r\n", hello + "DATA\r\n.\r\nRCPT TO:<c@d>\r\n",
		"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<full@example.org>\r\nRCPT TO:<b@x>\r\nDATA\r\n.\r\n",
		"EHLO x\r\nAUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\nMAIL FROM:<a@b> AUTH=c+40d SIZE=10 BODY=8BITMIME SMTPUTF8\r\n",
		"EHLO x\r\nAUTH LOGIN\r\ndGlt\r\n*\r\nAUTH PLAIN =\r\nAUTH X\r\n", "STARTTLS\r\nEHLO x\r\n", "BDAT 10 LAST\r\n",
		hello + "BDAT 6\r\nQUIT\r\nBDAT 3 LAST\r\nx\r\nQUIT\r\n", hello + "BDAT 3\r\nx\r\nRSET\r\nBDAT 2\r\nxxNOOP\r\n", hello + "BDAT 300\r\n" + strings.Repeat("x", 300),
		hello + "BDAT 4\r\nx\r\rBDAT 0 LAST\r\n", hello + "BDAT 1\r\n\rBDAT 1 LAST\r\n\nQUIT\r\n", hello + "BDAT 1\r\n\nNOOP\r\n", "BDAT 5\r\nQUIT\r\n",
		"GET / HTTP/1.1\r\n", "EHLO x\r\nXTAG y\r\nMAIL FROM:<a@b> RET=HDRS ENVID=a+2Bb HOLDFOR=60 BY=120;RT MT-PRIORITY=-3 XTAG=1\r\nRCPT TO:<b@x> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+40b RRVS=2014-04-03T23:01:00Z;C\r\nDATA\r\n.\r\n",
		"EHLO x\r\nMAIL FROM:<> BODY=BINARYMIME\r\nRCPT TO:<b@x>\r\nDATA\r\nBDAT 3\r\n\n\r\x00BDAT 1 LAST\r\n\n",
		"EHLO x\r\nMAIL FROM:<early@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n\r\n.\r\n.\r\n", strings.Repeat("x", 5000) + "\r\nNOOP\r\n", "NOOP\rx\r\n", "\r\n\r\n",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, input []byte, lmtp bool) {
		whole, got := converse(t, input, lmtp, false)
		bytewise, again := converse(t, input, lmtp, true)
		require.Equal(t, whole, bytewise)
		require.Equal(t, len(got), len(again))
		for i, m := range got {
			require.Equal(t, m.body, again[i].body)
			text := strings.ReplaceAll(m.body, "\r\n", "")
			require.False(t, m.env.Body != BodyBinary && strings.ContainsAny(text, "\r\n"), "%q", m.body)
			for _, p := range append(m.env.To, Recipient{Path: m.env.From}) {
				require.NoError(t, p.check())
			}
		}
		for line := range strings.Lines(whole) {
			require.Regexp(t, `^[2-5][0-9][0-9][ -][ -~]*\r\n$`, line)
			require.LessOrEqual(t, len(line), maxReplyLine)
		}
	})
}
