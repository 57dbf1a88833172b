package smtp

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/sasl"
)

// scripted is a Client of a server that offers extensions and then replies as
// told. out has what the Client says after EHLO.
func scripted(t *testing.T, extensions, replies string, cfg *ClientConfig) (c *Client, out func() string) {
	t.Helper()
	conn := &scriptConn{closed: make(chan struct{})}
	hello := "220 hi\r\n250-mx\r\n"
	for _, e := range strings.Split(extensions, ",") {
		hello += "250-" + e + "\r\n"
	}
	for line := range strings.Lines(hello + "250 HELP\r\n" + strings.ReplaceAll(replies, "\n", "\r\n")) {
		conn.segments = append(conn.segments, []byte(line))
	}
	c, err := NewClient(t.Context(), conn, cfg)
	require.NoError(t, err)
	conn.out.Reset()
	return c, conn.out.String
}

const taken = "250 ok\n250 ok\n354 go\n250 ok\n"

// What of an envelope is sent, left out, or refused.
func TestClientParameters(t *testing.T) {
	now := time.Now().UTC()
	stamp := "2030-01-02T03:04:05Z"
	at, err := time.Parse(time.RFC3339, stamp)
	require.NoError(t, err)
	mail := func(o MailOptions) *Envelope {
		return &Envelope{From: Path{"a", "example.com"}, MailOptions: o, To: To(Path{"b", "example.org"})}
	}
	rcpt := func(o RcptOptions) *Envelope {
		return &Envelope{From: Path{"a", "example.com"}, To: []Recipient{{Path{"b", "example.org"}, o}}}
	}
	by := func(d time.Duration, back bool) *Envelope {
		return mail(MailOptions{DeliverBy: DeliverBy{Deadline: now.Add(d + time.Minute/100), Return: back, Trace: true}})
	}
	for name, tc := range map[string]struct {
		env     *Envelope
		ext     string
		want    string // at the end of the command; empty: not there
		dropped string // if ext is not offered; or the error below
		code    int
		detail  EnhancedCode
	}{
		"DSN": {mail(MailOptions{Return: ReturnHeaders, EnvelopeID: "a+b=c d"}), "DSN", " RET=HDRS ENVID=a+2Bb+3Dc+20d", "DSN", 0, EnhancedCode{}},
		"NOTIFY": {rcpt(RcptOptions{Notify: NotifySuccess | NotifyDelay | NotifyFailure, Original: OriginalRecipient{"rfc822", "x+y@example.org"}}),
			"DSN", " NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;x+2By@example.org", "DSN", 0, EnhancedCode{}},
		"NEVER":          {rcpt(RcptOptions{Notify: NotifyNever}), "DSN", " NOTIFY=NEVER", "DSN", 0, EnhancedCode{}},
		"UTF-8 ORCPT":    {rcpt(RcptOptions{Original: OriginalRecipient{"utf-8", "ü+@example.org"}}), "DSN", ` ORCPT=utf-8;\x{FC}\x{2B}@example.org`, "DSN", 0, EnhancedCode{}},
		"priority":       {mail(MailOptions{Priority: -3}), "MT-PRIORITY", " MT-PRIORITY=-3", "MT-PRIORITY", 0, EnhancedCode{}},
		"hold":           {mail(MailOptions{HoldUntil: at}), "FUTURERELEASE 100 x", " HOLDUNTIL=" + stamp, "", 554, EnhancedCode{5, 3, 3}},
		"RRVS":           {rcpt(RcptOptions{ValidSince: ValidSince{Time: at}}), "RRVS", " RRVS=" + stamp + ";R", "", 550, EnhancedCode{5, 7, 19}},
		"RRVS, continue": {rcpt(RcptOptions{ValidSince: ValidSince{Time: at, Continue: true}}), "RRVS", " RRVS=" + stamp + ";C", "RRVS", 0, EnhancedCode{}},
		"BY, notify":     {by(time.Hour, false), "DELIVERBY", " BY=3600;NT", "DELIVERBY", 0, EnhancedCode{}},
		"BY, late":       {by(-time.Hour, false), "DELIVERBY", " BY=-3600;NT", "DELIVERBY", 0, EnhancedCode{}},
		"BY, return":     {by(time.Hour, true), "DELIVERBY 3600", " BY=3600;RT", "", 554, EnhancedCode{5, 3, 3}},
		"own":            {mail(MailOptions{Params: map[string]string{"X-B": "1", "X-A": ""}}), "X-A,X-B", " X-A X-B=1", "", 554, EnhancedCode{5, 3, 3}},
		"own of RCPT":    {rcpt(RcptOptions{Params: map[string]string{"X-A": "1"}}), "X-A", " X-A=1", "", 554, EnhancedCode{5, 3, 3}},
		"8-bit":          {mail(MailOptions{Body: Body8BitMIME}), "8BITMIME", " BODY=8BITMIME", "", 554, EnhancedCode{5, 6, 3}},
		"7-bit":          {mail(MailOptions{Body: Body7Bit}), "8BITMIME", " BODY=7BIT", "", 0, EnhancedCode{}},
		"binary":         {mail(MailOptions{Body: BodyBinary}), "CHUNKING,BINARYMIME", " BODY=BINARYMIME", "", 554, EnhancedCode{5, 6, 3}},
		"UTF-8":          {mail(MailOptions{SMTPUTF8: true}), "SMTPUTF8", " SMTPUTF8", "SMTPUTF8", 0, EnhancedCode{}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				now2 := time.Now()
				if by := &tc.env.DeliverBy; !by.Deadline.IsZero() { // time stands still from here on
					by.Deadline = now2.Add(by.Deadline.Sub(now))
				}
				c, out := scripted(t, tc.ext, taken, nil)
				res, err := c.Send(t.Context(), tc.env, strings.NewReader("x"))
				if tc.env.Body != BodyBinary {
					require.NoError(t, err)
				}
				require.Empty(t, res.Dropped)
				require.Contains(t, out(), tc.want+"\r\n")

				c, out = scripted(t, "X-OTHER", taken, nil)
				res, err = c.Send(t.Context(), tc.env, strings.NewReader("x"))
				require.NotContains(t, out(), tc.want)
				require.Equal(t, tc.dropped, strings.Join(res.Dropped, ","))
				if tc.code == 0 {
					require.NoError(t, err)
					return
				}
				require.Equal(t, Error{tc.code, tc.detail, AsError(err).Text}, *AsError(err))
				require.ErrorIs(t, err, ErrNotSent)
				var missing *ExtensionError
				require.ErrorAs(t, err, &missing)
				require.Contains(t, tc.ext, missing.Keyword)
				require.False(t, IsTemporary(err))
				require.True(t, c.Alive())
				require.Empty(t, out())
			})
		})
	}
	for name, env := range map[string]*Envelope{
		"RET": mail(MailOptions{Return: "X"}), "ENVID": mail(MailOptions{EnvelopeID: "a\r\nRSET"}), "long ENVID": mail(MailOptions{EnvelopeID: strings.Repeat("x", 101)}),
		"NEVER and more": rcpt(RcptOptions{Notify: NotifyNever | NotifyDelay}), "Notify": rcpt(RcptOptions{Notify: 64}),
		"ORCPT": rcpt(RcptOptions{Original: OriginalRecipient{"rfc822", "ü"}}), "ORCPT type": rcpt(RcptOptions{Original: OriginalRecipient{"x y", "z"}}),
		"priority": mail(MailOptions{Priority: 10}), "BY": mail(MailOptions{DeliverBy: DeliverBy{Return: true}}), "own": mail(MailOptions{Params: map[string]string{"X": "a b"}}),
		"own name": rcpt(RcptOptions{Params: map[string]string{"X\r\n": ""}}), "RRVS": rcpt(RcptOptions{ValidSince: ValidSince{Continue: true}}),
		"too late": mail(MailOptions{DeliverBy: DeliverBy{Deadline: now.Add(-time.Hour), Return: true}}), "too soon": mail(MailOptions{DeliverBy: DeliverBy{Deadline: now.Add(time.Minute), Return: true}}),
	} {
		c, out := scripted(t, "DSN,MT-PRIORITY,DELIVERBY 240,RRVS,X", taken, nil)
		_, err := c.Send(t.Context(), env, nil)
		require.ErrorIs(t, err, ErrNotSent, name)
		require.Empty(t, out(), name)
	}
}

// REQUIRETLS is never left out.
func TestClientRequireTLS(t *testing.T) {
	env := &Envelope{To: To(Path{"b", "example.org"}), MailOptions: MailOptions{RequireTLS: true}}
	for _, tc := range []struct {
		ext      string
		verified error
		want     error
	}{
		{"REQUIRETLS", nil, nil}, {"DSN", nil, ErrRequireTLS}, {"REQUIRETLS", ErrUnverified, ErrRequireTLS},
		{"REQUIRETLS", &tls.CertificateVerificationError{Err: errors.New("no")}, ErrRequireTLS},
	} {
		c, out := scripted(t, tc.ext, taken, nil)
		c.verified = tc.verified
		_, err := c.Send(t.Context(), env, nil)
		if tc.want == nil {
			require.NoError(t, err)
			require.Contains(t, out(), "MAIL FROM:<> REQUIRETLS\r\n")
			continue
		}
		require.ErrorIs(t, err, tc.want)
		require.Equal(t, EnhancedCode{5, 7, 30}, AsError(err).Enhanced)
		require.Equal(t, 550, AsError(err).Code)
		require.False(t, IsTemporary(err))
		require.Empty(t, out())
	}
}

// Without SMTPUTF8 a message goes if nothing in it needs that.
func TestClientWithoutSMTPUTF8(t *testing.T) {
	body := "Subject: x\r\n\r\nü\r\n"
	for name, tc := range map[string]struct {
		from Path
		body io.Reader
		want EnhancedCode
	}{
		"not needed":            {Path{"a", "example.com"}, strings.NewReader(body), EnhancedCode{}},
		"not needed, no seeker": {Path{"a", "example.com"}, iotest.OneByteReader(strings.NewReader(body)), EnhancedCode{}},
		"no body":               {Path{}, nil, EnhancedCode{}},
		"header":                {Path{"a", "example.com"}, strings.NewReader("Subject: ü\r\n\r\n"), EnhancedCode{5, 6, 9}},
		"header without end":    {Path{"a", "example.com"}, bytes.NewReader(bytes.Repeat([]byte("x\n"), maxHeader)), EnhancedCode{5, 6, 9}},
		"sender":                {Path{"ü", "example.com"}, strings.NewReader(body), EnhancedCode{5, 6, 7}},
	} {
		c, out := scripted(t, "8BITMIME", taken, nil)
		env := &Envelope{From: tc.from, To: To(Path{"ü", "example.org"}, Path{"b", "example.org"}), MailOptions: MailOptions{SMTPUTF8: true}}
		res, err := c.Send(t.Context(), env, tc.body)
		if tc.want != (EnhancedCode{}) {
			require.Equal(t, tc.want, AsError(err).Enhanced, name)
			require.Empty(t, out())
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, EnhancedCode{5, 6, 7}, AsError(res.Recipients[0]).Enhanced)
		require.NotContains(t, out(), "SMTPUTF8")
		if tc.body != nil {
			require.Contains(t, out(), body+".\r\n", name)
		}
	}
	c, _ := scripted(t, "8BITMIME", taken, nil)
	boom := errors.New("boom")
	_, err := c.Send(t.Context(), &Envelope{To: To(Path{"b", "example.org"}), MailOptions: MailOptions{SMTPUTF8: true}}, iotest.ErrReader(boom))
	require.ErrorIs(t, err, boom)
}

// RFC 9422: what is beyond the limits is not sent.
func TestClientLimits(t *testing.T) {
	env := &Envelope{To: To(Path{"a", "x.org"}, Path{"b", "y.org"}, Path{"c", "x.org"}, Path{"d", "z.org"}, Path{"e", "x.org"}, Path{"f", "x.org"})}
	c, out := scripted(t, "LIMITS RCPTMAX=4 rcptdomainmax=2 MAILMAX=1 X=y RCPTMAX=no", "250 ok\n250 ok\n250 ok\n250 ok\n250 ok\n354 go\n250 ok\n", nil)
	require.Equal(t, ServerLimits{1, 4, 2}, c.Limits())
	require.False(t, c.Exhausted())
	res, err := c.Send(t.Context(), env, nil)
	require.NoError(t, err)
	require.Equal(t, 4, strings.Count(out(), "RCPT TO:"))
	for i, beyond := range []bool{false, false, false, true, false, true} {
		require.Equal(t, beyond, errors.Is(res.Recipients[i], ErrLimit), i)
	}
	require.True(t, IsTemporary(res.Recipients[5]))
	require.ErrorIs(t, res.Recipients[5], ErrNotSent)
	require.True(t, c.Exhausted())
	_, err = c.Send(t.Context(), env, nil)
	require.ErrorIs(t, err, ErrLimit)
	require.True(t, IsTemporary(err))
}

// One write for each group, and as few groups as fit.
func TestOneWriteForEachGroup(t *testing.T) {
	env := &Envelope{}
	for i := range 1000 {
		env.To = append(env.To, Recipient{Path: Path{fmt.Sprint("user", i), "example.org"}})
	}
	c, _ := scripted(t, "PIPELINING", strings.Repeat("250 ok\n", 1001)+"354 go\n250 ok\n", nil)
	conn := &writeCounter{Conn: c.conn.Conn}
	c.conn.Conn = conn
	_, err := c.Send(t.Context(), env, strings.NewReader("x"))
	require.NoError(t, err)
	require.Equal(t, 3, conn.writes) // 31 KiB of commands, and the message
	require.LessOrEqual(t, conn.most, maxGroup)

	c, _ = scripted(t, "PIPELINING,CHUNKING", "250 ok\n250 ok\n250 ok\n", nil)
	conn = &writeCounter{Conn: c.conn.Conn}
	c.conn.Conn = conn
	_, err = c.Send(t.Context(), &Envelope{To: env.To[:1]}, bytes.NewReader(bytes.Repeat([]byte("x\r\n"), 1000)))
	require.NoError(t, err)
	require.Equal(t, 1, conn.writes)
}

// A message by BDAT has the octets that it should have.
func TestBinaryOctets(t *testing.T) {
	for _, size := range []int{3, chunkSize, 2*chunkSize + 5} {
		body := bytes.Repeat([]byte{'\n', 0, '\r', '.', '\n'}, size)[:size]
		c, out := scripted(t, "PIPELINING,CHUNKING,BINARYMIME", strings.Repeat("250 ok\n", 2+size/chunkSize+1), nil)
		_, err := c.Send(t.Context(), &Envelope{To: To(Path{"b", "example.org"}), MailOptions: MailOptions{Body: BodyBinary}}, bytes.NewReader(body))
		require.NoError(t, err)
		_, rest, _ := strings.Cut(out(), "RCPT TO:<b@example.org>\r\n")
		var got []byte
		for last := false; !last; {
			line, after, ok := strings.Cut(rest, "\r\n")
			require.True(t, ok)
			n := 0
			_, err := fmt.Sscanf(line, "BDAT %d", &n)
			require.NoError(t, err)
			require.LessOrEqual(t, n, chunkSize)
			got, rest, last = append(got, after[:n]...), after[n:], strings.HasSuffix(line, " LAST")
		}
		require.Empty(t, rest)
		require.True(t, bytes.Equal(body, got))
		require.False(t, c.open)
	}
}

// A chunk in the middle is refused: no LAST, and the replies are all read.
func TestChunkRefused(t *testing.T) {
	body := make([]byte, 40*chunkSize)
	c, out := scripted(t, "PIPELINING,CHUNKING,BINARYMIME", "250 ok\n250 ok\n250 one\n552 5.3.4 enough\n"+strings.Repeat("503 no\n", chunkWindow-1)+"250 reset\n"+"250 ok\n", nil)
	env := &Envelope{To: To(Path{"b", "example.org"}), MailOptions: MailOptions{Body: BodyBinary}}
	_, err := c.Send(t.Context(), env, bytes.NewReader(body))
	require.Equal(t, 552, AsError(err).Code)
	require.NotContains(t, out(), "LAST")
	require.True(t, c.Alive())
	require.True(t, c.open)
	require.NoError(t, c.Reset(t.Context()))
	require.NoError(t, c.Noop(t.Context()))
}

// Credentials do not come back in errors, and choose a mechanism.
func TestLoginAs(t *testing.T) {
	who := sasl.Credentials{User: "user", Password: "tanstaaf"}
	c, out := scripted(t, "AUTH LOGIN PLAIN", "535 5.7.8 AHVzZXIAdGFuc3RhYWY= means tanstaaf\n", &ClientConfig{InsecureAuth: true})
	err := c.LoginAs(t.Context(), who)
	require.Equal(t, 535, AsError(err).Code)
	require.Equal(t, "AUTH PLAIN AHVzZXIAdGFuc3RhYWY=\r\n", out())
	require.NotContains(t, err.Error(), "tanstaaf")
	require.NotContains(t, err.Error(), "AHVzZXIAdGFuc3RhYWY=")

	c, out = scripted(t, "AUTH LOGIN PLAIN", "", nil)
	err = c.LoginAs(t.Context(), who)
	require.ErrorIs(t, err, sasl.ErrNoMechanism)
	require.Equal(t, 538, AsError(err).Code)
	c, _ = scripted(t, "AUTH CRAM-MD5", "", nil)
	require.Equal(t, 504, AsError(c.LoginAs(t.Context(), who)).Code)
	require.Empty(t, out())
}

// writeCounter counts writes, and keeps the length of the longest.
type writeCounter struct {
	net.Conn
	writes, most int
}

func (w *writeCounter) Write(p []byte) (int, error) {
	w.writes++
	w.most = max(w.most, len(p))
	return w.Conn.Write(p)
}
