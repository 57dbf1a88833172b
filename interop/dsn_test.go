package interop

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/smtp/smtptest"
)

// extensions are what a recorder offers.
func extensions() []smtp.Extension {
	return []smtp.Extension{smtp.DSN(), smtp.RequireTLS(), smtp.BinaryMIME(), smtp.MTPriority(""), smtp.RRVS()}
}

// dsn are the parameters of RFC 3461 of a message and its first recipient.
type dsn struct{ ret, envid, notify, orcpt string }

func requireDSN(t *testing.T, m smtptest.Message, want dsn) {
	t.Helper()
	var occasions []string
	for bit, name := range map[smtp.Notify]string{smtp.NotifyNever: "NEVER", smtp.NotifySuccess: "SUCCESS", smtp.NotifyFailure: "FAILURE", smtp.NotifyDelay: "DELAY"} {
		if m.To[0].Notify&bit != 0 {
			occasions = append(occasions, name)
		}
	}
	slices.Sort(occasions)
	original := ""
	if o := m.To[0].Original; o != (smtp.OriginalRecipient{}) {
		original = o.Type + ";" + o.Address
	}
	assert.Equal(t, want, dsn{string(m.Return), m.EnvelopeID, strings.Join(occasions, ","), original})
}

// Mail systems pass on to us what they were asked for, by go-smtp's client and
// by ours.
func TestDSNPassedOn(t *testing.T) {
	t.Parallel()
	askForDSN := func(t *testing.T, addr string, r *recorder) {
		texts := []string{askForDSN(t, addr), sendWithDSN(t, addr, nil)}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		list, err := r.Wait(ctx, len(texts))
		require.NoError(t, err)
		require.Len(t, list, len(texts))
		for _, m := range list {
			requireDSN(t, m, dsn{"HDRS", "id+=1", "DELAY,FAILURE", "rfc822;bob+x@peer.test"})
			assert.True(t, m.SMTPUTF8)
			assert.Equal(t, "jürgen", m.From.Local)
			assert.True(t, slices.ContainsFunc(texts, func(text string) bool { return strings.HasSuffix(string(m.Data), text) }), "%s", m.Data)
		}
	}
	t.Run("Postfix", func(t *testing.T) {
		t.Parallel()
		r := startRecorder(t, false)
		p := startPostfix(t, freePort(t), "posta.test=smtp:[127.0.0.1]:"+r.port)
		askForDSN(t, p.addr, r)
	})
	t.Run("Postfix LMTP", func(t *testing.T) {
		t.Parallel()
		r := startRecorder(t, true)
		p := startPostfix(t, freePort(t), "posta.test=lmtp:inet:"+r.addr())
		askForDSN(t, p.addr, r)
	})
	t.Run("Exim", func(t *testing.T) {
		t.Parallel()
		r := startRecorder(t, false)
		e := startExim(t, freePort(t), "*", "posta.test 127.0.0.1::"+r.port)
		askForDSN(t, e.addr, r)
	})
}

func askForDSN(t *testing.T, addr string) (text string) {
	c, err := gosmtp.Dial(addr)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Mail("jürgen@peer.test", &gosmtp.MailOptions{UTF8: true, Return: gosmtp.DSNReturnHeaders, EnvelopeID: "id+=1"}))
	require.NoError(t, c.Rcpt(bob, &gosmtp.RcptOptions{Notify: []gosmtp.DSNNotify{gosmtp.DSNNotifyDelayed, gosmtp.DSNNotifyFailure},
		OriginalRecipientType: gosmtp.DSNAddressTypeRFC822, OriginalRecipient: "bob+x@peer.test"}))
	w, err := c.Data()
	require.NoError(t, err)
	text = message("jürgen@peer.test", bob, "Grüße", ".\r\n..\r\nend")
	_, err = w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return text
}
