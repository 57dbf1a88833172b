package imap_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/sqlite"
)

// BenchmarkLarge is what need not look at all messages of a mailbox, over sqlite,
// with 10,000 messages and, if POSTA_BENCH_LARGE is set, with 500,000: the times
// should be the same.
func BenchmarkLarge(b *testing.B) {
	sizes := []int{10_000}
	if os.Getenv("POSTA_BENCH_LARGE") != "" {
		sizes = append(sizes, 500_000)
	}
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			addr := largeServer(b, n)
			nc, err := net.Dial("tcp", addr)
			if err != nil {
				b.Fatal(err)
			}
			defer nc.Close()
			c := &benchClient{b: b, c: nc, buf: make([]byte, 1<<20)}
			c.run("LOGIN anna secret")
			c.run("SELECT INBOX")
			for _, row := range []struct {
				name     string
				commands []string
			}{
				{"select", []string{"SELECT INBOX"}},
				{"noop", []string{"NOOP"}},
				{"status", []string{"STATUS INBOX (MESSAGES UIDNEXT UNSEEN SIZE)"}},
				{"fetch-one", []string{fmt.Sprintf("FETCH %d (UID FLAGS ENVELOPE)", n/2)}},
				{"fetch-uid", []string{fmt.Sprintf("UID FETCH %d (FLAGS BODY.PEEK[])", n/2)}},
				{"fetch-last", []string{"FETCH *:* (FLAGS)"}},
				{"store-one", []string{fmt.Sprintf(`STORE %d +FLAGS (\Flagged)`, n/2), fmt.Sprintf(`STORE %d -FLAGS (\Flagged)`, n/2)}},
				{"search-uid", []string{fmt.Sprintf("UID SEARCH UID %d:%d UNSEEN", n-100, n)}},
				{"search-min", []string{"UID SEARCH RETURN (MAX) ALL"}},
				{"changes", []string{"UID FETCH 1:* (FLAGS) (CHANGEDSINCE 999999999)"}},
				{"append", []string{"APPEND INBOX {12+}\r\nSubject: x\r\n"}},
				{"copy-one", []string{fmt.Sprintf("COPY %d Sent", n/2)}},
				{"close-examine", []string{"EXAMINE INBOX", "UNSELECT", "SELECT INBOX"}},
			} {
				b.Run(row.name, func(b *testing.B) {
					c.b = b
					for b.Loop() {
						for _, cmd := range row.commands {
							c.run(cmd)
						}
					}
				})
			}
		})
	}
}

// largeServer serves a mailbox of n small messages.
func largeServer(b *testing.B, n int) string {
	ctx := context.Background()
	st, err := sqlite.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { st.Close() })
	if err := st.CreateAccount(ctx, "anna"); err != nil {
		b.Fatal(err)
	}
	acc, err := st.Account(ctx, "anna", "anna")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := acc.Create(ctx, "Sent", store.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	const batch = 1000
	for i := 0; i < n; i += batch {
		targets := make([]store.Target, 0, batch)
		for j := range batch {
			staged, err := st.Stage(ctx, strings.NewReader(simple(i+j)))
			if err != nil {
				b.Fatal(err)
			}
			targets = append(targets, store.Target{Account: "anna", Mailbox: store.Inbox, Body: staged})
		}
		for _, p := range st.Place(ctx, targets) {
			if p.Err != nil {
				b.Fatal(p.Err)
			}
		}
		for _, t := range targets {
			_ = t.Body.Discard()
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := &imap.Server{Store: st, Auth: users{}, Governor: &auth.Governor{Off: true}, InsecureAuth: true}
	go srv.Serve(l)
	b.Cleanup(func() { srv.Close() })
	return l.Addr().String()
}
