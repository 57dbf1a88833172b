package posta_test

import (
	"context"
	"crypto/tls"
	"log"
	"os"
	"strings"
	"testing"

	"github.com/posta-mail/posta"
	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/auth/password"
	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/mda"
	"github.com/posta-mail/posta/mta"
	"github.com/posta-mail/posta/pop3"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store/sqlite"
	"github.com/stretchr/testify/require"
)

var (
	ctx context.Context
	tc  *tls.Config
	key *dkim.Signer
)

// A complete mail system, composed.
func Example() {
	st, err := sqlite.Open("./mail") // embedded, crash-safe
	if err != nil {
		log.Fatal(err)
	}
	users := password.File("./users")
	local := &mda.Agent{Store: st}
	agent := &mta.Agent{
		Hostname: "mx.example.org", Domains: []string{"example.org"},
		Local: local, Spool: st.Spool(), Signer: mta.DKIM(key),
	}
	mx := &smtp.Server{Addr: ":25", Handler: agent.Inbound(), TLSConfig: tc}
	sub := &smtp.Server{Addr: ":587", Handler: agent.Submission(), TLSConfig: tc, Auth: users, RequireAuth: true}
	im := &imap.Server{Addr: ":143", Store: st, Auth: users, TLSConfig: tc}
	pop := &pop3.Server{Addr: ":110", Store: st, Auth: users, TLSConfig: tc}
	err = posta.Run(ctx, mx, sub, im, pop, agent) // or start each by hand
	if err != nil {
		log.Fatal(err)
	}
}

// README shows this file's example, word for word.
func TestREADME(t *testing.T) {
	src, err := os.ReadFile("example_test.go")
	require.NoError(t, err)
	_, body, _ := strings.Cut(string(src), "func Example() {\n")
	body, _, ok := strings.Cut(body, "\n}\n")
	require.True(t, ok)
	var sample strings.Builder
	for line := range strings.SplitSeq(body, "\n") {
		sample.WriteString(strings.TrimPrefix(line, "\t") + "\n")
	}
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	require.Contains(t, string(readme), "```go\n"+sample.String()+"```")
}
