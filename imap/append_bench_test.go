package imap_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/store/sqlite"
)

// BenchmarkAppend appends messages of 4 KiB on one connection with 32 in
// flight, durably.
func BenchmarkAppend(b *testing.B) {
	st, err := sqlite.Open(b.TempDir())
	require.NoError(b, err)
	defer st.Close()
	require.NoError(b, st.CreateAccount(context.Background(), "anna"))
	srv := &imap.Server{Store: st, Auth: users{}, Governor: &auth.Governor{Off: true}, InsecureAuth: true}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	go func() { _ = srv.Serve(l) }()
	defer srv.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(b, err)
	defer c.Close()
	message := benchMessage(1)
	command := []byte(fmt.Sprintf("a APPEND INBOX {%d+}\r\n%s\r\n", len(message), message))
	in := bufio.NewScanner(c)
	answered := func(want string) {
		for in.Scan() && !bytes.HasPrefix(in.Bytes(), []byte(want)) {
			if in.Bytes()[0] != '*' {
				b.Fatal(in.Text())
			}
		}
	}
	_, err = c.Write([]byte("l LOGIN anna secret\r\n"))
	require.NoError(b, err)
	answered("l OK")
	b.ReportAllocs()
	b.SetBytes(int64(len(message)))
	sent := 0
	for b.Loop() {
		if _, err := c.Write(command); err != nil {
			b.Fatal(err)
		}
		if sent++; sent > 32 {
			answered("a OK")
		}
	}
}
