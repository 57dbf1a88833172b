package interop

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/smtp/smtptest"
)

// extensions are what a recorder offers.
func extensions() []smtp.Extension {
	return []smtp.Extension{{Keyword: "DSN", MailParams: []string{"RET", "ENVID"}, RcptParams: []string{"NOTIFY", "ORCPT"}}}
}

// dsn are the parameters of RFC 3461 of a message and its first recipient.
type dsn struct{ ret, envid, notify, orcpt string }

func requireDSN(t *testing.T, m smtptest.Message, want dsn) {
	t.Helper()
	plain := func(xtext string) string {
		s, err := url.PathUnescape(strings.NewReplacer("%", "%25", "+", "%").Replace(xtext))
		require.NoError(t, err)
		return s
	}
	occasions := strings.Split(m.To[0].Params["NOTIFY"], ",")
	slices.Sort(occasions)
	original := m.To[0].Params["ORCPT"]
	if kind, address, ok := strings.Cut(original, ";"); ok {
		original = strings.ToLower(kind) + ";" + plain(address)
	}
	assert.Equal(t, want, dsn{m.Params["RET"], plain(m.Params["ENVID"]), strings.Join(occasions, ","), original})
}
