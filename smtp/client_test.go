package smtp

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/sasl"
)

func mustPath(t testing.TB, s string) Path {
	t.Helper()
	p, err := ParsePath("<" + s + ">")
	require.NoError(t, err)
	return p
}

func paths(t testing.TB, list ...string) []Path {
	t.Helper()
	var out []Path
	for _, s := range list {
		out = append(out, mustPath(t, s))
	}
	return out
}

// Client and server of the package against each other: TLS, login,
// recipients of all kinds, several messages.
func TestClientAndServer(t *testing.T) {
	serverTLS, clientTLS := testTLS(t)
	h := &testHandler{}
	l := testServer(t, &Server{Hostname: "mx.example.org", Handler: h, TLSConfig: serverTLS, Auth: testAuth{}, RequireAuth: true, Governor: &auth.Governor{Off: true}})
	ctx := t.Context()
	c, err := Dial(ctx, "mx.example.org:587", &ClientConfig{
		Hostname: "client.example.com", TLS: TLSPolicy{Mode: TLSVerified, Config: clientTLS},
		Auth:        sasl.NewPlainClient("", "tim", "tanstaaftanstaaf"),
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx) },
	})
	require.NoError(t, err)
	require.NotNil(t, c.TLS())
	require.NoError(t, c.Verified())
	env := &Envelope{From: mustPath(t, "a@example.com"), To: To(paths(t, "b@example.org", "nobody@example.org", "later@example.org", "c@example.org")...)}
	res, err := c.Send(ctx, env, strings.NewReader("Subject: x\n\n.\nbody"))
	require.NoError(t, err)
	require.NoError(t, res.Recipients[0])
	require.NoError(t, res.Recipients[3])
	require.Equal(t, "Queued as 1", res.Reply.Text)
	var e *Error
	require.ErrorAs(t, res.Recipients[1], &e)
	require.Equal(t, Error{550, EnhancedCode{5, 1, 1}, "No such user"}, *e)
	require.False(t, IsTemporary(res.Recipients[1]))
	require.True(t, IsTemporary(res.Recipients[2]))

	env.To = To(paths(t, "nobody@example.org")...)
	_, err = c.Send(ctx, env, strings.NewReader("x"))
	require.ErrorAs(t, err, &e)
	require.True(t, c.Alive())
	env.To = To(paths(t, "d@example.org")...)
	_, err = c.Send(ctx, env, strings.NewReader("again\r\n"))
	require.NoError(t, err)
	require.NoError(t, c.Quit(ctx))

	got := h.messages()
	require.Len(t, got, 2)
	require.Equal(t, "Subject: x\r\n\r\n.\r\nbody\r\n", got[0].body)
	require.Equal(t, "ESMTPSA", got[0].with)
	require.Equal(t, "tim", got[0].env.Identity.Account)
	require.Equal(t, To(paths(t, "b@example.org", "c@example.org")...), got[0].env.To)
	require.Equal(t, "client.example.com", got[0].env.Peer.HELO)
}

func TestClientLMTP(t *testing.T) {
	h := &testHandler{}
	l := testServer(t, &Server{Hostname: "mx.example.org", Handler: h, LMTP: true})
	nc, err := l.Dial(t.Context())
	require.NoError(t, err)
	c, err := NewClient(t.Context(), nc, &ClientConfig{LMTP: true})
	require.NoError(t, err)
	env := &Envelope{To: To(paths(t, "a@example.org", "full@example.org", "nobody@example.org", "a@example.org")...)}
	res, err := c.Send(t.Context(), env, strings.NewReader("x"))
	require.NoError(t, err)
	require.NoError(t, res.Recipients[0])
	require.True(t, IsTemporary(res.Recipients[1]))
	require.False(t, IsTemporary(res.Recipients[2]))
	require.NoError(t, res.Recipients[3])
	require.Equal(t, "LMTP", h.messages()[0].with)
	require.NoError(t, c.Quit(t.Context()))
}

// On TCP a reply that nothing asked for is seen before the next command,
// although it comes in a segment of its own.
func TestUnaskedReplyTCP(t *testing.T) {
	if !hasPeek {
		t.Skip("no way to look at the socket here")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	more := make(chan struct{})
	go func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(nc, "220 hi\r\n")
		_, _ = newBufReader(nc).ReadString('\n')
		_, _ = io.WriteString(nc, "250 hi\r\n")
		<-more
		_, _ = io.WriteString(nc, "250 and more\r\n")
	}()
	c, err := Dial(t.Context(), l.Addr().String(), nil)
	require.NoError(t, err)
	defer c.Close()
	close(more)
	require.Eventually(t, func() bool { return inputWaits(c.conn.Conn) }, 10*time.Second, time.Millisecond)
	_, err = c.Send(t.Context(), &Envelope{To: To(paths(t, "b@example.org")...)}, strings.NewReader("x"))
	require.ErrorIs(t, err, ErrProtocol)
	require.False(t, c.Alive())
}
