package imap_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
	"github.com/posta-mail/posta/store/sqlite"
)

// benchMessages is the size of the mailbox in the benchmarks.
const benchMessages = 10_000

// benchMessage is a message of about 4 KiB with two parts.
func benchMessage(i int) string {
	head := fmt.Sprintf("From: Sender %d <s%d@peer.test>\r\nTo: Rcpt <r@posta.test>\r\nSubject: message number %d about topic%d\r\n"+
		"Date: Mon, 02 Nov 2026 10:%02d:00 +0000\r\nMessage-ID: <m%d@peer.test>\r\nMIME-Version: 1.0\r\n"+
		"References: <m%d@peer.test>\r\nContent-Type: multipart/alternative; boundary=xx\r\n\r\n--xx\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n", i%97, i%97, i, i%53, i%60, i, i-i%4)
	tail := "\r\n--xx\r\nContent-Type: text/html\r\n\r\n<p>hi</p>\r\n--xx--\r\n"
	line := fmt.Sprintf("The quick brown fox %d jumps over the lazy dog and runs.\r\n", i)
	room := 4096 - len(head) - len(tail)
	return head + strings.Repeat(line, room/len(line)+1)[:room] + tail
}

// benchClient is a connection over loopback that reads whole answers into one
// buffer.
type benchClient struct {
	b   testing.TB
	c   net.Conn
	buf []byte
	tag int
}

// run sends a command and returns the octets of its answer, which must be OK.
func (c *benchClient) run(cmd string) int64 {
	c.tag++
	tag := fmt.Sprintf("b%d", c.tag)
	if _, err := io.WriteString(c.c, tag+" "+cmd+"\r\n"); err != nil {
		c.b.Fatal(err)
	}
	end, total, kept := []byte("\r\n"+tag+" "), int64(0), 0
	for {
		n, err := c.c.Read(c.buf[kept:])
		if err != nil {
			c.b.Fatal(err)
		}
		total += int64(n)
		got := c.buf[:kept+n]
		if i := bytes.LastIndex(got[max(0, len(got)-4000):], end); i >= 0 && bytes.HasSuffix(got, []byte("\r\n")) || bytes.HasPrefix(got, end[2:]) {
			if !bytes.Contains(got[max(0, len(got)-4000):], []byte(tag+" OK")) {
				c.b.Fatalf("%s: %s", cmd, got[max(0, len(got)-4000):])
			}
			return total
		}
		kept = copy(c.buf, got[max(0, len(got)-4000):])
	}
}

// benchFill files the messages of the benchmarks.
func benchFill(st store.Store) {
	ctx := context.Background()
	if err := st.CreateAccount(ctx, "anna"); err != nil {
		panic(err)
	}
	targets := make([]store.Target, 0, 1000)
	for i := range benchMessages {
		staged, err := st.Stage(ctx, strings.NewReader(benchMessage(i)))
		if err != nil {
			panic(err)
		}
		targets = append(targets, store.Target{Account: "anna", Mailbox: store.Inbox, Body: staged, Date: time.Unix(1_790_000_000+int64(i), 0)})
		if len(targets) == cap(targets) || i == benchMessages-1 {
			for _, p := range st.Place(ctx, targets) {
				if p.Err != nil {
					panic(p.Err)
				}
			}
			for _, t := range targets {
				_ = t.Body.Discard()
			}
			targets = targets[:0]
		}
	}
}

// BenchmarkMailbox times what a client waits for with 10,000 messages of 4 KiB
// in the mailbox, over loopback TCP.
func BenchmarkMailbox(b *testing.B) {
	b.Run("memory", func(b *testing.B) { benchmarkMailbox(b, memory.New()) })
	b.Run("sqlite", func(b *testing.B) {
		st, err := sqlite.Open(b.TempDir())
		require.NoError(b, err)
		defer st.Close()
		benchmarkMailbox(b, st)
	})
}

func benchmarkMailbox(b *testing.B, st store.Store) {
	benchFill(st)
	srv := &imap.Server{Store: st, Auth: users{}, Governor: &auth.Governor{Off: true}, InsecureAuth: true}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	go func() { _ = srv.Serve(l) }()
	defer srv.Close()
	nc, err := net.Dial("tcp", l.Addr().String())
	require.NoError(b, err)
	defer nc.Close()
	c := &benchClient{b: b, c: nc, buf: make([]byte, 1<<20)}
	c.run("LOGIN anna secret")
	c.run("SELECT INBOX")
	for _, row := range []struct{ name, cmd string }{
		{"SELECT", "SELECT INBOX"},
		{"NOOP", "NOOP"},
		{"UID_FETCH_FLAGS", "UID FETCH 1:* (UID FLAGS)"},
		{"FETCH_ENVELOPE", "FETCH 1:* ENVELOPE"},
		{"FETCH_ALL_BODYSTRUCTURE", "FETCH 1:* (FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)"},
		{"FETCH_HEADER_FIELDS", "FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT FROM DATE)]"},
		{"FETCH_BODY", "FETCH 1:* BODY.PEEK[]"},
		{"FETCH_PART", "FETCH 1:* BODY.PEEK[1]"},
		{"FETCH_BINARY", "FETCH 1:* BINARY.PEEK[1]"},
		{"FETCH_PREVIEW", "FETCH 1:* PREVIEW"},
		{"FETCH_ONE", "FETCH 5000 (FLAGS ENVELOPE)"},
		{"SEARCH_UNSEEN", "SEARCH UNSEEN"},
		{"SEARCH_SUBJECT", "SEARCH SUBJECT topic7"},
		{"SEARCH_TEXT_NONE", "SEARCH TEXT nowhere"},
		{"SORT_ARRIVAL", "SORT (REVERSE ARRIVAL) UTF-8 ALL"},
		{"SORT_DATE", "UID SORT (REVERSE DATE) UTF-8 ALL"},
		{"SORT_SUBJECT_FROM", "UID SORT (SUBJECT FROM) UTF-8 ALL"},
		{"THREAD_SUBJECT", "UID THREAD ORDEREDSUBJECT UTF-8 ALL"},
		{"THREAD_REFERENCES", "UID THREAD REFERENCES UTF-8 ALL"},
		{"STORE_ADD", "STORE 1:* +FLAGS.SILENT (\\Flagged)"},
	} {
		b.Run(row.name, func(b *testing.B) {
			b.ReportAllocs()
			c.b = b
			n := int64(0)
			for b.Loop() {
				if row.name == "STORE_ADD" && n > 0 {
					b.StopTimer()
					c.run("STORE 1:* -FLAGS.SILENT (\\Flagged)")
					b.StartTimer()
				}
				n = c.run(row.cmd)
			}
			b.ReportMetric(float64(n), "octets/op")
		})
	}
}
