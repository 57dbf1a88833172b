package imaptest

import (
	"context"
	"embed"
	"io/fs"
	"path"
	"strings"
	"testing"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/internal/testscript"
	"github.com/posta-mail/posta/store"
)

//go:embed dialogues/*.txt
var dialogues embed.FS

// Run serves a store by IMAP and plays, each as a subtest, dialogues whose
// answers are the same over every store: of mailboxes, messages, flags,
// searching, sorting and threading, and of several clients at one mailbox. It is
// what clients would see; the contract itself is tested by package
// store/storetest. The store gets accounts whose names begin with "imaptest-",
// two for each dialogue, which are removed afterwards.
func Run(t *testing.T, st store.Store) {
	t.Helper()
	files, err := fs.Glob(dialogues, "dialogues/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("imaptest: no dialogues", err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(path.Base(f), ".txt")
		t.Run(name, func(t *testing.T) { run(t, st, name) })
	}
}

// run plays one dialogue.
func run(tb testing.TB, st store.Store, name string) {
	tb.Helper()
	file := "dialogues/" + name + ".txt"
	script, err := dialogues.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	ctx := context.WithoutCancel(tb.Context())
	users := guests{prefix: "imaptest-" + name + "-"}
	for _, u := range users.names() {
		_ = st.DeleteAccount(ctx, u) // of a run that was interrupted
		if err := st.CreateAccount(ctx, u); err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() {
			if err := st.DeleteAccount(ctx, u); err != nil {
				tb.Error(err)
			}
		})
	}
	s := NewServer(tb, &imap.Server{Store: st, Auth: users})
	testscript.Run(tb, file, string(script), s.dialogue(nil))
}

// guests lets anna and bob in, each to an account made for one dialogue.
type guests struct{ prefix string }

func (g guests) names() []string { return []string{g.prefix + "anna", g.prefix + "bob"} }

// Password implements auth.Authenticator.
func (g guests) Password(ctx context.Context, req auth.Request, authzid, user, password string) (*auth.Identity, error) {
	id, err := Users{"anna": "secret", "bob": "secret"}.Password(ctx, req, authzid, user, password)
	if err == nil {
		id.Account = g.prefix + user
	}
	return id, err
}
