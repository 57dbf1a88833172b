package smtp

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/internal/memnet"
	"github.com/posta-mail/posta/internal/testsmuggle"
)

// route is one way for a message to come.
type route struct {
	lmtp, tls, bdat, pipelined bool
}

func (r route) String() string {
	var s []string
	for _, w := range []struct {
		is      bool
		yes, no string
	}{{r.lmtp, "LMTP", "SMTP"}, {r.tls, "TLS", "plain"}, {r.bdat, "BDAT", "DATA"}, {r.pipelined, "pipelined", "lockstep"}} {
		if w.is {
			s = append(s, w.yes)
		} else {
			s = append(s, w.no)
		}
	}
	return strings.Join(s, " ")
}

// every is which part of the candidates goes this way: of those that cost most,
// one in so many, each another way. With $POSTA_SMUGGLE_ALL all go all ways.
func (r route) every() int {
	switch {
	case os.Getenv("POSTA_SMUGGLE_ALL") != "":
		return 1
	case r.tls && raceEnabled:
		return 16
	case r.tls || raceEnabled:
		return 8
	}
	return 1
}

func routes() (list []route) {
	for i := range 16 {
		list = append(list, route{i&1 != 0, i&2 != 0, i&4 != 0, i&8 != 0})
	}
	return list
}

// Whatever looks like the end of a message: it is refused and the connection
// closed, or the message is accepted as one, with the octets as they were sent;
// nothing within it is ever carried out as a command. What was accepted is then
// relayed, and stays one message with the same octets.
func TestSmugglingMatrix(t *testing.T) {
	var mu sync.Mutex
	accepted := map[string]bool{}
	t.Run("accept", func(t *testing.T) {
		serverTLS, clientTLS := testTLS(t)
		clientTLS.ClientSessionCache = tls.NewLRUClientSessionCache(8)
		for i, r := range routes() {
			t.Run(r.String(), func(t *testing.T) {
				t.Parallel()
				h := &matrixHandler{}
				m := &matrix{route: r, h: h, l: testServer(t, &Server{Hostname: "mx.example.org", Handler: h, LMTP: r.lmtp, TLSConfig: serverTLS, MaxConnsPerAddr: -1})}
				if r.tls {
					m.tls = clientTLS
				}
				n := 0
				for j, c := range testsmuggle.Candidates() {
					if (i&1+i>>2<<1+j)%r.every() != 0 { // i without the bit of TLS
						continue
					}
					for _, text := range m.play(t, c) {
						n++
						mu.Lock()
						accepted[text] = true
						mu.Unlock()
					}
					if t.Failed() {
						return
					}
				}
				require.NotZero(t, n, "some are accepted")
			})
		}
	})
	require.Greater(t, len(accepted), 100)
	for _, via := range clientRoutes() {
		t.Run("relay by "+via.name, func(t *testing.T) {
			t.Parallel()
			h := &matrixHandler{}
			c := via.dial(t, via.server(t, h))
			var want []string
			for text := range accepted {
				want = append(want, text)
				via.relay(t, c, text)
			}
			require.NoError(t, c.Quit(t.Context()))
			require.Equal(t, want, h.texts, "each arrives once, with the same octets")
			require.Zero(t, h.smuggled)
		})
	}
}

// A Client is given what no server of ours would take: nothing but whole lines
// leaves it (RFC 5321 §2.3.8), and it stays one message.
func TestSmugglingClient(t *testing.T) {
	for _, via := range clientRoutes() {
		t.Run(via.name, func(t *testing.T) {
			t.Parallel()
			h := &matrixHandler{}
			c := via.dial(t, via.server(t, h))
			var want []string
			for _, cand := range testsmuggle.Candidates() {
				text := bytes.TrimSuffix(cand.Message(cand.Name), []byte("\r\n"))
				want = append(want, string(testsmuggle.Normalised(text)))
				via.relay(t, c, string(text))
			}
			require.Equal(t, want, h.texts)
			require.Zero(t, h.smuggled)
			require.NoError(t, c.Quit(t.Context()))
		})
	}
}

// clientRoute is one way for a Client to send.
type clientRoute struct {
	name string
	cfg  ClientConfig
	size int64  // of each message, as the envelope has it
	says string // the verb, as the server hears it
}

func clientRoutes() []clientRoute {
	return []clientRoute{
		{"DATA", ClientConfig{NoChunking: true}, 0, "DATA"},
		{"LMTP", ClientConfig{NoChunking: true, LMTP: true}, 0, "DATA"},
		{"BDAT", ClientConfig{}, smallMessage, "BDAT"},
		{"BDAT in chunks", ClientConfig{}, largeMessage, "BDAT"},
		{"LMTP, BDAT in chunks", ClientConfig{LMTP: true}, largeMessage, "BDAT"},
	}
}

// server is one for the route, which looks at the verb.
func (r clientRoute) server(t *testing.T, h Handler) *memnet.Listener {
	return testServer(t, &Server{Hostname: "mx.example.org", Handler: h, LMTP: r.cfg.LMTP, Trace: &Trace{Command: func(_ auth.Peer, verb, _ string) {
		if (verb == "DATA" || verb == "BDAT") && verb != r.says {
			t.Errorf("%s instead of %s", verb, r.says)
		}
	}}})
}

func (r clientRoute) dial(t *testing.T, l *memnet.Listener) *Client {
	nc, err := l.Dial(t.Context())
	require.NoError(t, err)
	c, err := NewClient(t.Context(), nc, &r.cfg)
	require.NoError(t, err)
	return c
}

func (r clientRoute) relay(t *testing.T, c *Client, text string) {
	t.Helper()
	env := &Envelope{From: Path{"a", "example.com"}, To: To(Path{"b", "example.org"}), MailOptions: MailOptions{Size: r.size}}
	// In pieces, so that no line end is seen whole.
	res, err := c.Send(t.Context(), env, onebyteReader{strings.NewReader(text)})
	require.NoError(t, err, "%q", text)
	require.NoError(t, res.Recipients[0])
}

// onebyteReader gives out one octet at a time.
type onebyteReader struct{ r io.Reader }

func (r onebyteReader) Read(p []byte) (int, error) { return r.r.Read(p[:min(len(p), 1)]) }

// matrixHandler keeps messages, and counts the transactions that began within
// one.
type matrixHandler struct {
	mu       sync.Mutex
	texts    []string
	smuggled int
}

func (h *matrixHandler) NewSession(context.Context, *Conn) (Session, error) {
	return &matrixSession{h: h}, nil
}

type matrixSession struct {
	nullSession
	h *matrixHandler
}

func (s *matrixSession) Mail(_ context.Context, from Path, _ MailOptions) (Reply, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if from.Local+"@"+from.Domain == testsmuggle.From {
		s.h.smuggled++
	}
	return Reply{}, nil
}

func (s *matrixSession) Data(_ context.Context, r io.Reader) (Result, error) {
	var b strings.Builder
	if _, err := io.Copy(&b, r); err != nil {
		return Result{}, err
	}
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.h.texts = append(s.h.texts, b.String())
	return Result{}, nil
}

// take returns what has come since the last time.
func (h *matrixHandler) take() (texts []string, smuggled int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	texts, smuggled = h.texts, h.smuggled
	h.texts, h.smuggled = nil, 0
	return texts, smuggled
}

// matrix plays candidates to one server.
type matrix struct {
	route
	h   *matrixHandler
	l   *memnet.Listener
	tls *tls.Config
}

// play sends a message with the candidate and returns what was accepted.
func (m *matrix) play(t *testing.T, cand testsmuggle.Candidate) []string {
	sent := cand.Message(cand.Name)
	cut := bytes.Index(sent, append([]byte("first"), cand.Seq...)) + len("first") + (len(cand.Seq)+1)/2
	c := m.dial(t)
	defer c.nc.Close()
	var want testsmuggle.Verdict
	if m.bdat {
		want = testsmuggle.Verdict{Text: sent, Refuse: testsmuggle.Bare(sent)}
		m.sendChunks(c, sent, cut)
	} else {
		stream := append(bytes.Clone(sent), ".\r\n"...)
		want = testsmuggle.Data(stream)
		m.sendData(c, stream, cut)
	}
	codes := c.rest()
	texts, smuggled := m.h.take()
	answers := 1
	if m.lmtp && !(len(c.first) > 0 && c.first[0] != "250") {
		answers = 2 // but a chunk that is not the last has one (RFC 2033 §4.3)
	}
	switch {
	case want.Refuse:
		assert.Equal(t, repeat("550", answers), codes, "%s: refused, and the connection closed", cand.Name)
		assert.Empty(t, texts, cand.Name)
		assert.Zero(t, smuggled, cand.Name)
	case len(want.Rest) > 0: // a real end, which a server has to find
		require.GreaterOrEqual(t, len(codes), answers, cand.Name)
		assert.Equal(t, repeat("250", answers), codes[:answers], cand.Name)
		assert.Equal(t, []string{string(want.Text)}, texts, cand.Name)
		assert.NotContains(t, codes, "354", "%s: what comes with DATA is no message", cand.Name)
		assert.NotContains(t, codes, "221", cand.Name)
	default:
		assert.Equal(t, append(repeat("250", answers), "221"), codes, cand.Name)
		assert.Equal(t, []string{string(want.Text)}, texts, "%s: one message, as it was sent", cand.Name)
		assert.Zero(t, smuggled, cand.Name)
	}
	return texts
}

func repeat(s string, n int) (list []string) {
	for range n {
		list = append(list, s)
	}
	return list
}

func (m *matrix) envelope() []string {
	list := []string{"MAIL FROM:<a@example.com>\r\n", "RCPT TO:<b@example.org>\r\n"}
	if m.lmtp {
		list = append(list, "RCPT TO:<c@example.org>\r\n")
	}
	return list
}

// sendData sends a transaction with DATA. In lockstep the text comes in two
// pieces that part within the candidate.
func (m *matrix) sendData(c *matrixConn, stream []byte, cut int) {
	if m.pipelined {
		c.say(strings.Join(m.envelope(), "") + "DATA\r\n")
		c.hear(len(m.envelope()) + 1)
		c.say(string(stream) + "QUIT\r\n")
		return
	}
	for _, s := range append(m.envelope(), "DATA\r\n") {
		c.say(s)
		c.hear(1)
	}
	c.say(string(stream[:cut]))
	c.say(string(stream[cut:]))
	c.say("QUIT\r\n")
}

// sendChunks sends a transaction with BDAT: pipelined in one chunk, which comes
// together with all commands; in lockstep in two, which part within the
// candidate.
func (m *matrix) sendChunks(c *matrixConn, text []byte, cut int) {
	if m.pipelined {
		c.say(strings.Join(m.envelope(), "") + fmt.Sprintf("BDAT %d LAST\r\n%sQUIT\r\n", len(text), text))
		c.hear(len(m.envelope()))
		return
	}
	for _, s := range m.envelope() {
		c.say(s)
		c.hear(1)
	}
	c.say(fmt.Sprintf("BDAT %d\r\n%s", cut, text[:cut]))
	c.first = c.hear(1)
	c.say(fmt.Sprintf("BDAT %d LAST\r\n%s", len(text)-cut, text[cut:]))
	c.say("QUIT\r\n")
}

func (m *matrix) dial(t *testing.T) *matrixConn {
	nc, err := m.l.Dial(t.Context())
	require.NoError(t, err)
	c := &matrixConn{t: t, nc: nc, in: bufio.NewReader(nc)}
	c.hear(1)
	hello := "EHLO x\r\n"
	if m.lmtp {
		hello = "LHLO x\r\n"
	}
	c.say(hello)
	c.hear(1)
	if m.tls != nil {
		c.say("STARTTLS\r\n")
		c.hear(1)
		c.nc = tls.Client(nc, m.tls)
		c.in.Reset(c.nc)
		c.say(hello)
		c.hear(1)
	}
	return c
}

// matrixConn is a client that speaks out of turn.
type matrixConn struct {
	t     *testing.T
	nc    net.Conn
	in    *bufio.Reader
	first []string // the reply to the first chunk
}

// say writes without caring whether anybody still listens.
func (c *matrixConn) say(s string) { _, _ = io.WriteString(c.nc, s) }

// hear reads n replies and returns their codes.
func (c *matrixConn) hear(n int) (codes []string) {
	for len(codes) < n {
		line, err := c.in.ReadString('\n')
		require.NoError(c.t, err)
		if line[3] == ' ' {
			codes = append(codes, line[:3])
		}
	}
	return codes
}

// rest says no more and returns the codes of all further replies. What the
// first of two chunks got counts if it was refused.
func (c *matrixConn) rest() (codes []string) {
	_ = c.nc.(interface{ CloseWrite() error }).CloseWrite()
	all, err := io.ReadAll(c.in)
	require.NoError(c.t, err)
	for line := range strings.Lines(string(all)) {
		codes = append(codes, line[:3])
	}
	if len(c.first) > 0 && c.first[0] != "250" {
		codes = append(c.first, codes...)
	}
	return codes
}
