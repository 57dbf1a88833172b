package interop

import (
	"bufio"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/srs"
)

// TestPostSRSd has Debian's PostSRSd and us rewrite the same senders with the
// same secret: each gives the other's addresses, and takes them back.
func TestPostSRSd(t *testing.T) {
	t.Parallel()
	peer(t, "postsrsd")
	dir := t.TempDir()
	secrets := filepath.Join(dir, "secrets")
	require.NoError(t, os.WriteFile(secrets, []byte("a shared secret\nthe one before\n"), 0o600))
	ports := freePorts(t, 2)
	cmd := exec.Command("postsrsd", "-s"+secrets, "-dfwd.example", "-f"+ports[0], "-r"+ports[1], "-4")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	forward, reverse := lookupTable(t, ports[0]), lookupTable(t, ports[1])

	ours := &srs.Rewriter{Domain: "fwd.example", Secrets: [][]byte{[]byte("a shared secret"), []byte("the one before")}}
	first := &srs.Rewriter{Domain: "first.example", Secrets: [][]byte{[]byte("their own")}}
	second := &srs.Rewriter{Domain: "second.example", Secrets: [][]byte{[]byte("another")}}
	srs0, err := first.Forward("alice@a.example")
	require.NoError(t, err)
	srs1, err := second.Forward(srs0)
	require.NoError(t, err)
	for _, sender := range []string{"alice@a.example", "Al.i+ce=x@A.example", "srs2=x=y@a.example", srs0, srs1, strings.Replace(srs0, "SRS0=", "SRS0-", 1)} {
		theirs, err := ours.Forward(sender)
		require.NoError(t, err)
		got := forward(sender)
		assert.Equal(t, theirs, got, "forwarding %s", sender)
		back, err := ours.Reverse(got)
		require.NoError(t, err)
		assert.Equal(t, back, reverse(got), "taking %s back", got)
	}
	before := &srs.Rewriter{Domain: "fwd.example", Secrets: ours.Secrets[1:]}
	old, err := before.Forward("alice@a.example")
	require.NoError(t, err)
	assert.Equal(t, "alice@a.example", reverse(old))
}

// lookupTable asks a table by Postfix's tcp_table(5) protocol.
func lookupTable(t *testing.T, port string) func(key string) string {
	var c net.Conn
	require.Eventually(t, func() (ok bool) {
		var err error
		c, err = net.Dial("tcp", "127.0.0.1:"+port)
		return err == nil
	}, 10*time.Second, 20*time.Millisecond)
	t.Cleanup(func() { c.Close() })
	r := bufio.NewReader(c)
	return func(key string) string {
		_, err := fmt.Fprintf(c, "get %s\n", strings.ReplaceAll(key, "%", "%25"))
		require.NoError(t, err)
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		code, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		require.Equal(t, "200", code, line)
		value, err = url.PathUnescape(value)
		require.NoError(t, err)
		return value
	}
}
