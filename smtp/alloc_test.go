//go:build !race

package smtp

import (
	"bufio"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// A transaction in lock step on an open connection, with a Session that keeps
// nothing: what is counted is the Server's own. Not under the race detector,
// which makes pools forget on purpose.
func TestAllocations(t *testing.T) {
	nc, r := benchConn(t)
	steps := [][]byte{
		[]byte("MAIL FROM:<a@example.com> SIZE=100 BODY=8BITMIME\r\n"), []byte("RCPT TO:<b@example.org>\r\n"),
		[]byte("DATA\r\n"), []byte("Subject: x\r\n\r\nx\r\n.\r\n"),
	}
	got := testing.AllocsPerRun(200, func() { transact(t, nc, r, steps) })
	require.LessOrEqual(t, got, 12.0)
	require.NotZero(t, got, "something must have been counted")
}

func transact(t testing.TB, nc net.Conn, r *bufio.Reader, steps [][]byte) {
	for _, s := range steps {
		if _, err := nc.Write(s); err != nil {
			t.Fatal(err)
		}
		line, err := r.ReadSlice('\n')
		if err != nil || line[0] > '3' {
			t.Fatalf("%q %v", line, err)
		}
	}
}
