package smtp

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/memnet"
	"github.com/posta-mail/posta/internal/testleak"
)

// stuckHandler waits in one of its calls until the context ends, and counts
// those that come afterwards.
type stuckHandler struct {
	in    string
	ended chan time.Time
	calls []string
}

func newStuck(in string) *stuckHandler { return &stuckHandler{in: in, ended: make(chan time.Time, 1)} }

func (h *stuckHandler) call(ctx context.Context, name string) error {
	h.calls = append(h.calls, name)
	if name != h.in {
		return nil
	}
	<-ctx.Done()
	h.ended <- time.Now()
	return ctx.Err()
}

func (h *stuckHandler) NewSession(ctx context.Context, _ *Conn) (Session, error) {
	return &stuckSession{h: h}, h.call(ctx, "new")
}

type stuckSession struct {
	nullSession
	h *stuckHandler
}

func (s *stuckSession) Mail(ctx context.Context, _ Path, _ MailOptions) (Reply, error) {
	return Reply{}, s.h.call(ctx, "mail")
}

func (s *stuckSession) Rcpt(ctx context.Context, _ Path, _ RcptOptions) (Reply, error) {
	return Reply{}, s.h.call(ctx, "rcpt")
}

func (s *stuckSession) Data(ctx context.Context, r io.Reader) (Result, error) {
	if err := s.h.call(ctx, "data"); err != nil {
		return Result{}, err
	}
	_, err := io.Copy(io.Discard, r)
	if err == nil {
		err = s.h.call(ctx, "read")
	}
	return Result{}, err
}

func (s *stuckSession) Extensions() []Extension {
	return []Extension{{Verbs: map[string]func(context.Context, string) Reply{"XSLOW": func(ctx context.Context, _ string) Reply {
		_ = s.h.call(ctx, "verb")
		return Reply{}
	}}}}
}

// A client that goes away during a call ends its context, whatever else it has
// sent, which is not carried out.
func TestClientGoneDuringCall(t *testing.T) {
	const mail, rcpt = "MAIL FROM:<a@example.com>\r\n", "RCPT TO:<b@example.org>\r\n"
	for _, tc := range []struct {
		in    string
		steps []string // all but the last are answered
		calls string
	}{
		{in: "new", calls: "new"},
		{"verb", []string{"EHLO x\r\n", "XSLOW\r\n" + mail}, "new verb"},
		{"mail", []string{"EHLO x\r\n", mail}, "new mail"},
		{"mail", []string{"EHLO x\r\n", mail + rcpt + "DATA\r\n"}, "new mail"},
		{"rcpt", []string{"EHLO x\r\n", mail + rcpt + rcpt + rcpt}, "new mail rcpt"},
		{"data", []string{"EHLO x\r\n", mail, rcpt, "DATA\r\n"}, "new mail rcpt data"}, // 354 comes with the first read
		{"data", []string{"EHLO x\r\n", mail, rcpt, "BDAT 3 LAST\r\nx\r\n" + mail}, "new mail rcpt data"},
		{"read", []string{"EHLO x\r\n", mail, rcpt, "DATA\r\n", "Subject: x\r\n\r\nx\r\n.\r\n" + mail}, "new mail rcpt data read"},
		{"read", []string{"EHLO x\r\n", mail, rcpt, "BDAT 3\r\nx\r\n", "BDAT 0 LAST\r\n"}, "new mail rcpt data read"},
	} {
		for name, encrypted := range map[string]bool{"plain": false, "TLS": true} {
			t.Run(tc.in+" "+name, func(t *testing.T) {
				serverTLS, clientTLS := testTLS(t)
				clientTLS.InsecureSkipVerify = true // it is the year 2000 in a bubble
				h := newStuck(tc.in)
				s := &Server{Handler: h, TLSConfig: serverTLS, ImplicitTLS: encrypted}
				bubble(t, s, func(t *testing.T, l *memnet.Listener, _ *testHandler) {
					h.ended = make(chan time.Time, 1) // of this bubble
					c := newTalk(t, l)
					if encrypted {
						c.Conn = tls.Client(c.Conn, clientTLS)
						require.NoError(t, c.Conn.(*tls.Conn).Handshake())
						c.r = bufio.NewReader(c.Conn)
					}
					for _, line := range tc.steps {
						c.hear("")
						c.say(line)
					}
					time.Sleep(time.Minute)
					require.Empty(t, h.ended, "the client is still there")
					gone := time.Now()
					require.NoError(t, c.Close())
					require.LessOrEqual(t, (<-h.ended).Sub(gone), 2*time.Second)
					time.Sleep(time.Minute)
					require.Equal(t, tc.calls, strings.Join(h.calls, " "))
				})
			})
		}
	}
}

// patientHandler finishes whatever becomes of its context.
type patientHandler struct{ nullSession }

func (h patientHandler) NewSession(context.Context, *Conn) (Session, error) { return h, nil }

func (patientHandler) Data(_ context.Context, r io.Reader) (Result, error) {
	_, err := io.Copy(io.Discard, r)
	time.Sleep(10 * time.Second)
	return Result{}, err
}

// Who has only closed its own direction gets the reply, if the Handler does not
// care.
func TestHalfClosedClient(t *testing.T) {
	for _, body := range []string{"DATA\r\n", "BDAT 3 LAST\r\n"} {
		bubble(t, &Server{Handler: patientHandler{}}, func(t *testing.T, l *memnet.Listener, _ *testHandler) {
			c := newTalk(t, l)
			c.begin(false)
			c.say(body)
			if body[0] == 'D' {
				c.hear("354 ")
				c.say("x\r\n.\r\n")
			} else {
				c.say("x\r\n")
			}
			require.NoError(t, c.Conn.(interface{ CloseWrite() error }).CloseWrite())
			c.hear("250 2.0.0")
			c.hearEOF()
		})
	}
}

// A slow call of a client that stays is nobody's fault.
func TestSlowCallOfClientThatStays(t *testing.T) {
	bubble(t, &Server{Handler: patientHandler{}}, func(t *testing.T, l *memnet.Listener, _ *testHandler) {
		c := newTalk(t, l)
		c.begin(true)
		c.say("x\r\n.\r\nQUIT\r\n")
		c.hear("250 2.0.0", "221 ")
	})
}

func TestClientGoneTCP(t *testing.T) {
	testleak.Check(t)
	serverTLS, clientTLS := testTLS(t)
	for name, encrypted := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			h := newStuck("mail")
			s := &Server{Handler: h, TLSConfig: serverTLS, ImplicitTLS: encrypted}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			go func() { _ = s.Serve(l) }()
			defer s.Close()
			nc, err := net.Dial("tcp", l.Addr().String())
			require.NoError(t, err)
			if encrypted {
				nc = tls.Client(nc, clientTLS)
			}
			c := newTalkConn(t, nc)
			c.hear("220 ")
			c.say("EHLO x\r\n")
			c.hear("250 ")
			c.say("MAIL FROM:<>\r\n")
			require.NoError(t, nc.Close())
			select {
			case <-h.ended:
			case <-time.After(20 * time.Second):
				t.Error("the context did not end")
			}
		})
	}
}
