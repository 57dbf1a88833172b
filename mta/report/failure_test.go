package report

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/posta-mail/posta/auth/dmarc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func (v *verifier) FailureDestinations(ctx context.Context, domain string, uris []string) ([]dmarc.Destination, []error) {
	return v.Destinations(ctx, domain, uris)
}

func TestFailureSender(t *testing.T) {
	out := new(outbox)
	s := &FailureSender{Submitter: out, Verifier: new(verifier), Address: "dmarc@reports.r.test", MaxPerDestination: 2}
	f := &dmarc.Failure{Domain: "a.test", ID: "1", Alignment: "none", RcptTo: "<bob@r.test>", Header: []byte("From: x@a.test\r\nTo: bob@r.test\r\nSubject: secret\r\n\r\n")}
	send := func(domain, to string) (int, []error) {
		return s.Send(t.Context(), domain, []string{"mailto:" + to}, f)
	}
	n, errs := send("a.test", "d@a.test")
	assert.Zero(t, n, "nothing without leave")
	assert.Empty(t, errs)
	s.Allow = func(d string) bool { return d != "bad.test" }
	for _, domain := range []string{"bad.test", "reports.r.test"} {
		n, _ = send(domain, "d@a.test")
		assert.Zero(t, n, domain)
	}
	for range 2 {
		n, errs = send("a.test", "d@a.test")
		assert.Equal(t, 1, n)
		assert.Empty(t, errs)
	}
	n, errs = send("a.test", "e@a.test")
	assert.Zero(t, n)
	require.Len(t, errs, 1)
	assert.ErrorIs(t, errs[0], ErrCap)
	s.MaxPerDay = 3
	for i := range 5 {
		_, errs = send("a.test", fmt.Sprintf("d@h%d.test", i))
	}
	assert.ErrorIs(t, errs[0], ErrCap)
	require.Len(t, out.mail, 3)

	m := out.mail[0]
	assert.NotContains(t, string(m.Message), "secret")
	assert.NotContains(t, string(m.Message), "bob")
	got, err := Parse(bytes.NewReader(m.Message), int64(len(m.Message)), nil, nil)
	require.NoError(t, err)
	require.Len(t, got.Failures, 1)
	assert.Equal(t, "a.test", got.Failures[0].Domain)

	s.MaxPerDay = 0
	f.Header = m.Message
	n, _ = send("a.test", "d@b.test")
	assert.Zero(t, n, "a report about a report")
	_, errs = new(FailureSender).Send(t.Context(), "a.test", nil, f)
	assert.ErrorIs(t, errs[0], ErrSender)
}
