package smtptest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/testleak"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/smtp/smtptest"
)

func TestMain(m *testing.M) { testleak.Main(m) }

func envelope(t testing.TB, to ...string) *smtp.Envelope {
	t.Helper()
	env := &smtp.Envelope{}
	for _, s := range to {
		p, err := smtp.ParseAddress(s)
		require.NoError(t, err)
		env.To = append(env.To, smtp.Recipient{Path: p})
	}
	return env
}

func ExampleRecorder() {
	var rec smtptest.Recorder
	rec.Start()
	defer rec.Close()

	to, _ := smtp.ParseAddress("b@example.org")
	_, err := smtp.SendMail(context.Background(), "mx.example.org:25",
		&smtp.ClientConfig{DialContext: rec.Dial},
		&smtp.Envelope{To: smtp.To(to)}, strings.NewReader("Subject: hello\n\nHello.\n"))
	fmt.Println(err)
	m := rec.Messages()[0]
	fmt.Printf("%s %q\n", m.To[0], m.Data)
	// Output:
	// <nil>
	// <b@example.org> "Subject: hello\r\n\r\nHello.\r\n"
}

func TestRecorder(t *testing.T) {
	rec := &smtptest.Recorder{
		Mail: func(from smtp.Path, _ smtp.MailOptions) error {
			if from.Local == "bad" {
				return smtp.Errorf(550, smtp.EnhancedCode{5, 7, 1}, "no")
			}
			return nil
		},
		Rcpt: func(to smtp.Path) error {
			if to.Local == "later" {
				return smtp.Errorf(450, smtp.EnhancedCode{4, 2, 0}, "later")
			}
			return nil
		},
		Data: func(m *smtptest.Message) error {
			if strings.Contains(string(m.Data), "virus") {
				return errors.New("found")
			}
			return nil
		},
	}
	addr, err := rec.StartTCP()
	require.NoError(t, err)
	defer rec.Close()
	c, err := smtp.Dial(t.Context(), addr, nil)
	require.NoError(t, err)
	res, err := c.Send(t.Context(), envelope(t, "a@example.org", "later@example.org"), strings.NewReader("x"))
	require.NoError(t, err)
	require.Error(t, res.Recipients[1])
	_, err = c.Send(t.Context(), envelope(t, "a@example.org"), strings.NewReader("virus"))
	require.True(t, smtp.IsTemporary(err))
	env := envelope(t, "a@example.org")
	env.From = smtp.Path{Local: "bad", Domain: "example.org"}
	_, err = c.Send(t.Context(), env, strings.NewReader("x"))
	require.False(t, smtp.IsTemporary(err))
	require.NoError(t, c.Quit(t.Context()))
	list, err := rec.Wait(t.Context(), 1)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Len(t, list[0].To, 1)
	require.Equal(t, 1, rec.Sessions())

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	list, err = rec.Wait(ctx, 2)
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, list, 1)
}

func TestRecorderLMTP(t *testing.T) {
	rec := &smtptest.Recorder{RcptData: func(_ *smtptest.Message, to smtp.Path) error {
		if to.Local == "full" {
			return smtp.Errorf(452, smtp.EnhancedCode{4, 2, 2}, "full")
		}
		return nil
	}}
	rec.Server.LMTP = true
	defer rec.Close()
	res, err := smtp.SendMail(t.Context(), "local", &smtp.ClientConfig{LMTP: true, DialContext: rec.Dial},
		envelope(t, "full@example.org", "a@example.org"), strings.NewReader("x"))
	require.NoError(t, err)
	require.Error(t, res.Recipients[0])
	require.NoError(t, res.Recipients[1])
	require.Equal(t, "a", rec.Messages()[0].To[0].Local)
	require.Len(t, rec.Messages()[0].To, 1)
}

func TestPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := smtptest.NewPeer(`
			# first connection: slow and well behaved
			S: 220 hi
			C: EHLO .*
			WAIT 1m
			S: 250 me
			C: MAIL FROM:<>
			S: 250 ok
			C: RCPT TO:<a@example\.org>
			S: 250 ok
			C: DATA
			S: 354 go
			DATA
			S: 250 done
			C: QUIT
			S: 221 bye
		`, `
			S- "554 go away\r\n"
			STALL
		`)
		require.NoError(t, err)
		defer p.Close()
		cfg := &smtp.ClientConfig{DialContext: p.Dial}
		start := time.Now()
		_, err = smtp.SendMail(t.Context(), "mx:25", cfg, envelope(t, "a@example.org"), strings.NewReader(".\n"))
		require.NoError(t, err)
		require.Equal(t, time.Minute, time.Since(start))
		for range 2 {
			_, err = smtp.Dial(t.Context(), "mx:25", cfg)
			require.ErrorContains(t, err, "go away")
		}
		require.NoError(t, p.Err())
		require.Equal(t, 3, p.Conns())
		require.Equal(t, []string{"..\r\n.\r\n"}, p.Data())
	})
}

func TestPeerTellsDepartures(t *testing.T) {
	p, err := smtptest.NewPeer("S: 220 hi\nC: LHLO .*")
	require.NoError(t, err)
	addr, err := p.ListenTCP()
	require.NoError(t, err)
	_, err = smtp.Dial(t.Context(), addr, nil)
	require.Error(t, err)
	require.NoError(t, p.Close())
	require.ErrorContains(t, p.Err(), `script line 2: C: LHLO .*: got "EHLO localhost\r\n"`)
}

func TestScriptsAreChecked(t *testing.T) {
	for _, s := range []string{"X: y", "S- nope", "S* x y", "C: (", "WAIT long"} {
		_, err := smtptest.NewPeer(s)
		require.Error(t, err, s)
	}
	_, err := smtptest.NewPeer()
	require.Error(t, err)
}
