package imaptest

import (
	"crypto/tls"
	"testing"

	"github.com/posta-mail/posta/internal/testcert"
)

// Authority makes certificates that hold for a test.
type Authority struct {
	tb testing.TB
	ca *testcert.Authority
}

// NewAuthority makes an Authority of its own key. Where time is that of
// testing/synctest, make it in the bubble that uses it.
func NewAuthority(tb testing.TB) *Authority {
	tb.Helper()
	ca, err := testcert.NewAuthority()
	if err != nil {
		tb.Fatal(err)
	}
	return &Authority{tb, ca}
}

// Server is a configuration with a certificate for host names or IP addresses.
func (a *Authority) Server(names ...string) *tls.Config {
	a.tb.Helper()
	cert, err := a.ca.Issue(names...)
	if err != nil {
		a.tb.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

// Client is a configuration that trusts the Authority and nobody else.
func (a *Authority) Client() *tls.Config { return &tls.Config{RootCAs: a.ca.Pool()} }
