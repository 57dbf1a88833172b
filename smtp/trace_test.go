package smtp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/internal/memnet"
	"github.com/posta-mail/posta/internal/wire"
)

// What a Trace is told of messages, by DATA and BDAT, whole and not.
func TestTraceMessage(t *testing.T) {
	begin := "EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n"
	lazy := strings.Replace(begin, "a@", "lazy@", 1)
	for name, tc := range map[string]struct {
		say, body string
		wait      time.Duration
		want      Transfer
		err       any
	}{
		"DATA":                   {say: begin + "DATA\r\n", body: "a\r\n..b\r\n.\r\n", want: Transfer{Recipients: 1, Octets: 7}},
		"DATA that nobody reads": {say: lazy + "DATA\r\n", body: "a\r\n..b\r\n.\r\n", want: Transfer{Recipients: 1, Octets: 7}},
		"slow DATA":              {say: begin + "RCPT TO:<c@example.org>\r\nDATA\r\n", wait: time.Minute, body: ".\r\n", want: Transfer{Recipients: 2, Duration: time.Minute}},
		"two chunks":             {say: begin + "BDAT 3\r\na\r\n", wait: time.Minute, body: "BDAT 2 LAST\r\nbc", want: Transfer{Recipients: 1, Octets: 7, Chunked: true, Duration: time.Minute}},
		"a bare LF":              {say: begin + "DATA\r\n", body: "a\r\nb\nc\r\n.\r\n", want: Transfer{Recipients: 1, Octets: 4}, err: wire.ErrBareLF},
		"a cut message":          {say: begin + "DATA\r\n", body: "abc\r\n", want: Transfer{Recipients: 1, Octets: 5}, err: io.ErrUnexpectedEOF},
		"too slow":               {say: begin + "DATA\r\n", wait: 3 * time.Minute, want: Transfer{Recipients: 1, Duration: 3 * time.Minute}, err: os.ErrDeadlineExceeded},
		"the Session refuses":    {say: strings.Replace(begin, "a@", "early@", 1) + "BDAT 2 LAST\r\nab", want: Transfer{Recipients: 1, Chunked: true}, err: &Error{554, EnhancedCode{5, 7, 1}, "Not wanted"}},
		"chunks given up":        {say: begin + "BDAT 2\r\nab", body: "RSET\r\n", want: Transfer{Recipients: 1, Octets: 2, Chunked: true}, err: errChunksEnded},
	} {
		t.Run(name, func(t *testing.T) {
			var got []Transfer
			s := &Server{Trace: &Trace{Message: func(p auth.Peer, m Transfer) { got = append(got, m) }}}
			bubble(t, s, func(t *testing.T, l *memnet.Listener, _ *testHandler) {
				c := newTalk(t, l)
				c.hear("220 ")
				c.say(tc.say)
				synctest.Wait()
				time.Sleep(tc.wait)
				c.say(tc.body)
				synctest.Wait()
				_ = c.Close()
				synctest.Wait()
				require.Len(t, got, 1)
				err := got[0].Err
				got[0].Err = nil
				switch want := tc.err.(type) {
				case nil:
					require.NoError(t, err)
					if tc.want.Recipients > 0 && !strings.Contains(tc.say, "lazy") {
						require.Contains(t, got[0].Result.Reply.Text, "Queued as")
					}
				case error:
					require.True(t, errors.Is(err, want) || reflect.DeepEqual(err, want), "%v", err)
					require.Empty(t, got[0].Result)
				}
				got[0].Result = Result{}
				require.Equal(t, tc.want, got[0])
			})
		})
	}
}

// A handshake's result is told, good or bad.
func TestTraceTLS(t *testing.T) {
	serverTLS, clientTLS := bubbleTLS(t)
	for _, implicit := range []bool{true, false} {
		var got []string
		add := func(s string) { got = append(got, s) }
		s := &Server{TLSConfig: serverTLS, ImplicitTLS: implicit, Trace: &Trace{
			TLS: func(p auth.Peer, err error) {
				if err != nil {
					add("failed")
					return
				}
				add(tls.VersionName(p.TLS.Version))
			},
			Connect: func(auth.Peer) { add("connect") },
			Close:   func(auth.Peer, error) { add("close") },
		}}
		bubble(t, s, func(t *testing.T, l *memnet.Listener, _ *testHandler) {
			dial := func() net.Conn {
				c := newTalk(t, l)
				if !implicit {
					c.hear("220 ")
					c.say("STARTTLS\r\n")
					c.hear("220 ")
				}
				return c.Conn
			}
			secure := tls.Client(dial(), clientTLS)
			require.NoError(t, secure.Handshake())
			_ = secure.Close()
			synctest.Wait()
			bad := dial()
			_, _ = io.WriteString(bad, "not TLS at all\r\n")
			_, _ = io.ReadAll(bad)
			synctest.Wait()
			want := "connect TLS 1.3 close connect failed close"
			if implicit {
				want = "TLS 1.3 connect close failed"
			}
			require.Equal(t, want, strings.Join(got, " "))
		})
	}
}

// The transcript of a dialogue in which a client says its password wherever it
// can, and sends a message.
func TestTranscript(t *testing.T) {
	serverTLS, _ := testTLS(t)
	var text, records bytes.Buffer
	log := slog.New(slog.NewTextHandler(&records, nil))
	ended := make(chan bool, 1)
	var order []string
	s := &Server{
		Hostname: "mx.example.org", Handler: &testHandler{}, Auth: testAuth{}, InsecureAuth: true, TLSConfig: serverTLS, MaxBadCommands: 50, MaxAuthFailures: 50,
		Governor: &auth.Governor{Off: true},
		Trace: JoinTraces(nil,
			&Trace{Connect: func(auth.Peer) { order = append(order, "first") }},
			Transcript(&text), LogTranscript(nil, 0), LogTranscript(log, slog.LevelInfo),
			&Trace{Connect: func(auth.Peer) { order = append(order, "last") }, Close: func(auth.Peer, error) { ended <- true }}),
	}
	c := newTalk(t, testServer(t, s))
	c.hear("220 ")
	for _, line := range []string{
		"EHLO x\x1b[31m", "AUTH PLAIN=c2VjcmV0", "AUTH c2VjcmV0", "AUTH  c2VjcmV0", "AUTH\tPLAIN c2VjcmV0", "AUTHPLAIN c2VjcmV0",
		"AUTH PLAIN c2VjcmV0", "AUTH SECRET c2VjcmV0", "c2VjcmV0", "SECRET c2VjcmV0", "X-LOGIN tim secret",
	} {
		c.say(line + "\r\n")
		if strings.HasPrefix(line, "EHLO") {
			c.hear("501 ")
			c.say("EHLO x\r\n")
			c.hear("250 ")
			continue
		}
		c.hear("5")
	}
	c.say("AUTH LOGIN\r\nc2VjcmV0\r\nc2VjcmV0\r\n")
	c.hear("334 ", "334 ", "535 ")
	c.say("AUTH LOGIN dGlt\r\ndGFuc3RhYWZ0YW5zdGFhZg==\r\n")
	c.hear("334 ", "235 ")
	c.say("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
	c.hear("250 ", "250 ", "354 ")
	c.say("Subject: secret\r\n\r\nsecret\r\n.\r\n")
	c.hear("250 ")
	c.say("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nBDAT 8\r\nsecret\r\nBDAT 8 LAST\r\nsecret\r\nQUIT\r\n")
	c.hear("250 ", "250 ", "250 ", "250 ", "221 ")
	<-ended
	got := regexp.MustCompile(`(?m)^smtp-\S+ `).ReplaceAllString(text.String(), "")
	got = regexp.MustCompile(`127.0.0.1:\d+`).ReplaceAllString(got, "127.0.0.1:1234")
	got = regexp.MustCompile(`(?m)(^S: 250-.*\n)+S: 250 .*\n`).ReplaceAllString(got, "S: 250 and what is offered\n")
	require.Equal(t, readFile(t, "testdata/transcript.golden"), got)
	for _, secret := range []string{"c2VjcmV0", "secret", "SECRET", "C2VJCMV0", "dGFuc3Rh", "\x1b"} {
		require.NotContains(t, text.String(), secret)
		require.NotContains(t, records.String(), secret)
	}
	require.Equal(t, strings.Count(text.String(), "\n"), strings.Count(records.String(), "\n"), "the same in both")
	require.Contains(t, records.String(), `msg="C: (a message of 27 octets)" peer.id=smtp-`)
	require.Equal(t, []string{"first", "last"}, order)
}

// Several connections do not mix within a line.
func TestTranscriptOfMany(t *testing.T) {
	var text bytes.Buffer
	s := &Server{Handler: &testHandler{}, Trace: Transcript(&text)}
	l := testServer(t, s)
	var wg sync.WaitGroup
	for range 10 {
		c := newTalk(t, l)
		wg.Go(func() {
			_, _ = io.WriteString(c, "EHLO x\r\nNOOP\r\nQUIT\r\n")
			_, _ = io.ReadAll(c)
		})
	}
	wg.Wait()
	require.NoError(t, s.Shutdown(t.Context()))
	for line := range strings.Lines(text.String()) {
		require.Regexp(t, `^smtp-\w+-\w+ (C: |S: |connected|closed)`, line)
	}
	require.Equal(t, 10, strings.Count(text.String(), " closed\n"))
}

// A joined Trace leaves no callback out, whoever has it.
func TestJoinTraces(t *testing.T) {
	require.Nil(t, JoinTraces())
	require.Nil(t, JoinTraces(nil, nil))
	calls := map[string]int{}
	full := func() *Trace {
		tr := &Trace{}
		v := reflect.ValueOf(tr).Elem()
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			v.Field(i).Set(reflect.MakeFunc(v.Field(i).Type(), func([]reflect.Value) []reflect.Value { calls[name]++; return nil }))
		}
		return tr
	}
	joined := reflect.ValueOf(JoinTraces(full(), nil, &Trace{}, full(), &Trace{})).Elem()
	for i := range joined.NumField() {
		f, name := joined.Field(i), joined.Type().Field(i).Name
		require.False(t, f.IsNil(), name)
		args := make([]reflect.Value, f.Type().NumIn())
		for j := range args {
			args[j] = reflect.Zero(f.Type().In(j))
		}
		f.Call(args)
		require.Equal(t, 2, calls[name], name)
	}
}

// Conn.Peer tells all there is to know.
func TestPeerKnowsTheLogin(t *testing.T) {
	peers := make(chan auth.Peer, 1)
	s := &Server{Auth: testAuth{}, InsecureAuth: true, Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Handler: Receive(func(Path) bool { return true }, func(_ context.Context, env *Envelope, _ io.Reader) error {
			peers <- env.Peer
			return nil
		})}
	c := newTalk(t, testServer(t, s))
	c.say("PROXY TCP6 2001:db8::1 2001:db8::2 1 25\r\n")
	c.hear("220 ")
	c.say("EHLO x\r\nAUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n")
	c.hear("250 ", "235 ")
	c.say("MAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nBDAT 0 LAST\r\nQUIT\r\n")
	c.hear("250 ", "250 ", "250 ", "221 ")
	p := <-peers
	require.Equal(t, "tim", p.Identity.Account)
	require.Equal(t, "x", p.HELO)
	require.Equal(t, "[2001:db8::1]:1", p.Remote.String())
	require.Equal(t, "[2001:db8::2]:25", p.Local.String())
	require.True(t, p.Proxy.Addr().Unmap().IsLoopback())
	require.NotEmpty(t, p.ID)
}
