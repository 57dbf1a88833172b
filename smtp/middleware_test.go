package smtp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
)

// tagger notes the order of calls.
func tagger(log *[]string, tag string) Middleware {
	return wrapSessions(func(inner Session, _ *Conn) Session { return &tagged{Wrapper{inner}, log, tag} })
}

type tagged struct {
	Wrapper
	log *[]string
	tag string
}

func (s *tagged) Mail(ctx context.Context, from Path, opts MailOptions) (Reply, error) {
	*s.log = append(*s.log, s.tag)
	r, err := s.Wrapper.Mail(ctx, from, opts)
	*s.log = append(*s.log, "/"+s.tag)
	return r, err
}

func TestChain(t *testing.T) {
	var log []string
	inner := HandlerFunc(func(context.Context, *Conn) (Session, error) { return extendedSession{}, nil })
	h := Chain(inner, tagger(&log, "a"), LogMessages(slog.New(slog.DiscardHandler)), CheckRecipients(everybody), LimitSize(noLimit), tagger(&log, "b"))
	s, err := h.NewSession(t.Context(), &Conn{})
	require.NoError(t, err)
	require.Equal(t, "XCOUNT 1 2", Extensions(s)[0].Keyword, "wrappers keep the extensions")
	_, err = s.Mail(t.Context(), Path{}, MailOptions{})
	require.NoError(t, err)
	require.Equal(t, "a b /b /a", strings.Join(log, " "))

	require.Nil(t, Chain(nil, tagger(&log, "a")))
	require.NotNil(t, Chain(inner))
	// What the inner Handler answers to a connection is passed on as it is.
	refusal := errors.New("no")
	for _, want := range []error{refusal, nil} {
		h = Chain(HandlerFunc(func(context.Context, *Conn) (Session, error) { return nil, want }), LogMessages(slog.New(slog.DiscardHandler)), LimitSize(noLimit))
		s, err = h.NewSession(t.Context(), &Conn{})
		require.Nil(t, s)
		require.Equal(t, want, err)
	}
}

func everybody(context.Context, Path) (bool, error) { return true, nil }
func noLimit(*auth.Identity) int64                  { return -1 }

func TestCheckPeers(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, "220 "},
		{Errorf(554, EnhancedCode{5, 7, 1}, "Listed"), "554 5.7.1 Listed"},
		{fmt.Errorf("list: %w", Errorf(450, EnhancedCode{4, 7, 1}, "Later")), "421 4.7.1 Later"},
		{errors.New("resolver on fire"), "421 4.3.0 Local error"},
	} {
		h := &testHandler{}
		l := testServer(t, &Server{Handler: Chain(h, CheckPeers(func(_ context.Context, p auth.Peer) error {
			require.True(t, p.Addr().IsLoopback())
			require.Empty(t, p.HELO)
			return c.err
		}))})
		newTalk(t, l).hear(c.want)
		h.mu.Lock()
		require.Equal(t, c.err == nil, h.sessions == 1, "the inner Handler does not see who is sent away")
		h.mu.Unlock()
	}
}

func TestCheckRecipients(t *testing.T) {
	var asked []string
	h := &testHandler{}
	l := testServer(t, &Server{MaxUnknownRecipients: 2, Handler: Chain(h, CheckRecipients(func(_ context.Context, to Path) (bool, error) {
		asked = append(asked, to.String())
		switch to.Local {
		case "broken":
			return true, errors.New("directory: secret failure")
		case "full":
			return false, Errorf(452, EnhancedCode{4, 2, 2}, "Full")
		}
		return to.Local != "nil", nil
	}))})
	c := newTalk(t, l)
	c.hear("220 ")
	c.say("EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<nil@example.org>\r\nRCPT TO:<broken@example.org>\r\nRCPT TO:<full@example.org>\r\nRCPT TO:<Postmaster>\r\nRCPT TO:<later@example.org>\r\n")
	c.hear("250 ", "250 ", "550 5.1.1 No such user here", "451 4.3.0 Local error", "452 4.2.2 Full", "250 ", "450 4.2.0")
	require.Equal(t, []string{"<nil@example.org>", "<broken@example.org>", "<full@example.org>", "<Postmaster>", "<later@example.org>"}, asked)
	c.say("DATA\r\n")
	c.hear("354 ")
	c.say(".\r\n")
	c.hear("250 ")
	require.Len(t, h.messages()[0].env.To, 1)
	c.say("MAIL FROM:<>\r\nRCPT TO:<nil@example.org>\r\nRCPT TO:<nil@example.org>\r\n")
	c.hear("250 ", "550 5.1.1", "421 4.7.0")
}

// A limit is exact, whether declared or real, by DATA or BDAT.
func TestLimitSize(t *testing.T) {
	const limit = 1000
	body := strings.Repeat(strings.Repeat("x", 98)+"\r\n", limit/100)
	send := func(c *talk, bdat bool, body, want string) {
		c.t.Helper()
		c.say("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n")
		c.hear("250 ", "250 ")
		if bdat {
			c.say(fmt.Sprintf("BDAT %d LAST\r\n%s", len(body), body))
			c.hear(want)
			return
		}
		c.say("DATA\r\n")
		c.hear("354 ")
		c.say(body + ".\r\n")
		c.hear(want)
	}
	for _, user := range []bool{false, true} {
		for _, bdat := range []bool{false, true} {
			t.Run(fmt.Sprintf("user=%v bdat=%v", user, bdat), func(t *testing.T) {
				h := &testHandler{}
				l := testServer(t, &Server{Auth: testAuth{}, InsecureAuth: true, Handler: Chain(h, LimitSize(func(id *auth.Identity) int64 {
					if id != nil && id.Account == "tim" {
						return limit + 1
					}
					return limit
				}))})
				c := newTalk(t, l)
				c.hear("220 ")
				c.say("EHLO x\r\n")
				c.hear("250 ")
				max := limit
				if user {
					max++
					c.say("AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n")
					c.hear("235 ")
				}
				c.say(fmt.Sprintf("MAIL FROM:<a@example.com> SIZE=%d\r\nMAIL FROM:<a@example.com> SIZE=%d\r\nRSET\r\n", max+1, max))
				c.hear("552 5.3.4", "250 ", "250 ")
				pad := strings.Repeat("y", max-limit)
				send(c, bdat, pad+body, "250 ")
				send(c, bdat, pad+"z"+body, "552 5.3.4 Message too big for you")
				send(c, bdat, pad+strings.Repeat(body, 50), "552 5.3.4 Message too big for you")
				send(c, bdat, pad+body, "250 ")
				require.Len(t, h.messages(), 2)
				require.Len(t, h.messages()[1].body, max)
			})
		}
	}
}

// A Session that copies, as most do, sees the same limit.
func TestLimitSizeOfCopies(t *testing.T) {
	var got bytes.Buffer
	l := testServer(t, &Server{Handler: Chain(Receive(ForDomains("example.org"), func(_ context.Context, _ *Envelope, r io.Reader) error {
		got.Reset()
		_, err := io.Copy(&got, r)
		return err
	}), LimitSize(func(*auth.Identity) int64 { return 10_000 }), LogMessages(slog.New(slog.DiscardHandler)))})
	c := newTalk(t, l)
	c.hear("220 ")
	c.say("EHLO x\r\n")
	c.hear("250 ")
	for size := 9_990; size < 10_010; size++ {
		body := strings.Repeat("..dots\r\n", 1000) + strings.Repeat("x", size-7002) + "\r\n"
		c.say("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
		c.hear("250 ", "250 ", "354 ")
		c.say(body + ".\r\n")
		c.hear(map[bool]string{true: "250 ", false: "552 "}[size <= 10_000])
		want := strings.ReplaceAll(body, "..", ".")
		require.Equal(t, want[:min(size, 10_000)], got.String())
	}
}

// A Session that ignores errors or does not read cannot accept a message that
// is too big; one that refuses for its own reasons is heard.
func TestLimitSizeIsNotIgnored(t *testing.T) {
	h := &testHandler{}
	l := testServer(t, &Server{Handler: Chain(h, LimitSize(func(*auth.Identity) int64 { return 10 }))})
	c := newTalk(t, l)
	c.hear("220 ")
	c.say("EHLO x\r\n")
	c.hear("250 ")
	for from, want := range map[string]string{"swallow": "552 5.3.4", "lazy": "552 5.3.4", "early": "554 5.7.1 Not wanted"} {
		c.say("MAIL FROM:<" + from + "@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
		c.hear("250 ", "250 ", "354 ")
		c.say("12345678\r\n9\r\n.\r\n")
		c.hear(want)
	}
	require.Empty(t, h.messages())
}

func TestMeter(t *testing.T) {
	for size := range 8 {
		for limit := int64(-1); limit < 8; limit++ {
			for name, wrap := range map[string]func(io.Reader) io.Reader{"plain": func(r io.Reader) io.Reader { return r }, "data and EOF": iotest.DataErrReader, "one": iotest.OneByteReader, "half": iotest.HalfReader} {
				for _, whole := range []bool{false, true} {
					checkMeter(t, wrap, size, limit, whole, name)
				}
			}
		}
	}
	// An error of the writer is not the message's.
	for _, r := range []io.Reader{strings.NewReader("1234567"), iotest.OneByteReader(strings.NewReader("1234567"))} {
		m := &meter{r: r, limit: 7, tooBig: tooBig()}
		_, err := io.Copy(failingWriter{}, m)
		require.ErrorIs(t, err, io.ErrShortBuffer)
		_, failed := m.finish(nil)
		require.NoError(t, failed)
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrShortBuffer }

func checkMeter(t *testing.T, wrap func(io.Reader) io.Reader, size int, limit int64, whole bool, name string) {
	t.Helper()
	m := &meter{r: wrap(strings.NewReader("1234567"[:size])), limit: limit, tooBig: tooBig()}
	var b bytes.Buffer
	var err error
	if whole {
		_, err = m.WriteTo(&b)
	} else {
		_, err = io.CopyBuffer(&b, struct{ io.Reader }{m}, make([]byte, 3))
	}
	n, failed := m.finish(err)
	over := limit >= 0 && int64(size) > limit
	require.Equal(t, over, err == error(m.tooBig), "%s %d of %d", name, size, limit)
	require.Equal(t, over, failed != nil)
	require.EqualValues(t, b.Len(), n)
	if over {
		require.EqualValues(t, limit, n)
	} else {
		require.Equal(t, size, b.Len())
	}
}

func TestLogMessages(t *testing.T) {
	var b bytes.Buffer
	records := func() []string {
		defer b.Reset()
		var list []string
		for l := range strings.Lines(b.String()) {
			list = append(list, strings.TrimSpace(l))
		}
		return list
	}
	logger := slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch a.Key {
		case "time", "level", "id", "remote", "duration":
			return slog.Attr{}
		}
		return a
	}}))
	h := &testHandler{}
	for _, lmtp := range []bool{false, true} {
		s := &Server{LMTP: lmtp, MaxMessageBytes: 1000, Auth: testAuth{}, InsecureAuth: true, Handler: Chain(h, LogMessages(logger))}
		l := testServer(t, s)
		c := newTalk(t, l)
		c.hear("220 ")
		hello := "EHLO x\r\n"
		if lmtp {
			hello = "LHLO x\r\n"
		}
		c.say(hello + "AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n")
		c.hear("250 ", "235 ")
		c.say("MAIL FROM:<refused@example.com>\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<nobody@example.org>\r\nRCPT TO:<b@example.org>\r\nRCPT TO:<full@example.org>\r\nDATA\r\n")
		c.hear("550 ", "250 ", "550 ", "250 ", "250 ", "354 ")
		c.say("secret words\r\n.\r\n")
		want := []string{
			`msg="sender refused" peer.tls=false helo=x user=tim from=<refused@example.com> err="smtp: 550 5.7.1 Not you"`,
			`msg="recipient refused" peer.tls=false helo=x user=tim from=<a@example.com> to=<nobody@example.org> err="wrapped: smtp: 550 5.1.1 No such user"`,
		}
		if lmtp {
			c.hear("250 ", "452 ")
			want = append(want, `msg="recipient refused" peer.tls=false helo=x user=tim from=<a@example.com> to=<full@example.org> err="smtp: 452 4.2.2 Mailbox full"`,
				`msg="message accepted" peer.tls=false helo=x user=tim from=<a@example.com> to=[<b@example.org>] recipients=1 size=14 reply="250 2.6.0 Queued as 2"`)
		} else {
			c.hear("452 ")
			want = append(want, `msg="message refused" peer.tls=false helo=x user=tim from=<a@example.com> to="[<b@example.org> <full@example.org>]" recipients=2 size=14 err="smtp: 452 4.2.2 Mailbox full"`)
		}
		require.Equal(t, want, records())
		// A message that the Handler accepts, unread and too big for the Server.
		for body, want := range map[string]string{
			"1234\r\n":                      `msg="message accepted" peer.tls=false helo=x user=tim from=<lazy@example.com> to=[<b@example.org>] recipients=1 size=6 reply="250 2.0.0 OK"`,
			strings.Repeat("1234\r\n", 500): `msg="message refused" peer.tls=false helo=x user=tim from=<lazy@example.com> to=[<b@example.org>] recipients=1 size=1000 err="smtp: 552 5.3.4 Message too big"`,
		} {
			c.say("MAIL FROM:<lazy@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
			c.hear("250 ", "250 ", "354 ")
			c.say(body + ".\r\n")
			c.hear(map[bool]string{true: "250 ", false: "552 "}[len(body) < 100])
			require.Equal(t, []string{want}, records())
		}
		c.say("QUIT\r\n")
		c.hear("221 ")
	}
	l := testServer(t, &Server{Handler: Chain(h, LogMessages(logger), CheckPeers(func(context.Context, auth.Peer) error { return errors.New("listed") }))})
	newTalk(t, l).hear("421 ")
	require.Equal(t, []string{`msg="connection refused" peer.tls=false err=listed`}, records())
	require.Equal(t, Handler(h), Chain(h, LogMessages(nil)))
}
