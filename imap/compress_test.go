package imap_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/hex"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/imap"
)

// deflating is the client's side of COMPRESS.
type deflating struct {
	net.Conn
	r io.Reader
	w *flate.Writer
}

func (d *deflating) Read(p []byte) (int, error) { return d.r.Read(p) }

func (d *deflating) Write(p []byte) (int, error) {
	n, err := d.w.Write(p)
	if err == nil {
		err = d.w.Flush()
	}
	return n, err
}

// compress switches compression on.
func (c *client) compress() {
	c.t.Helper()
	_, end := c.do("COMPRESS DEFLATE")
	require.Equal(c.t, "OK DEFLATE active", end)
	w, err := flate.NewWriter(c.Conn, 6)
	require.NoError(c.t, err)
	c.Conn = &deflating{Conn: c.Conn, r: flate.NewReader(c.r), w: w}
	c.r = bufio.NewReaderSize(c.Conn, 64<<10)
}

func TestCompress(t *testing.T) {
	w := newWorld(t, nil)
	w.fill("anna", "INBOX", 500)
	c := w.login("anna")
	_, end := c.do("COMPRESS LZW")
	assert.Equal(t, "NO [CANNOT] Mechanism not available", end)
	c.compress()
	_, end = c.do("COMPRESS DEFLATE")
	assert.Equal(t, "NO [COMPRESSIONACTIVE] DEFLATE is active already", end)
	c.ok("SELECT INBOX")
	assert.Len(t, c.ok("FETCH 1:* (FLAGS BODY.PEEK[])"), 500, "more than one write")
	text := strings.Repeat("x", 100_000) + "\r\n"
	c.ok("APPEND INBOX {100002+}\r\n" + text)
	assert.Contains(t, c.ok("FETCH 501 BODY[]")[0], text)

	// IDLE tells through it too.
	c.tag++
	c.send("i IDLE\r\n")
	assert.Equal(t, "+ idling", c.line())
	w.fill("anna", "INBOX", 1)
	assert.Equal(t, "* 502 EXISTS", c.line())
	c.send("DONE\r\n")
	_, end = c.until("i")
	assert.Equal(t, "OK IDLE completed", end)
	_, end = c.do("LOGOUT")
	assert.Equal(t, "OK LOGOUT completed", end)
	_, err := c.r.ReadByte()
	require.Error(t, err)

	// Not before login, and not if it has been disabled.
	c = w.connect()
	_, end = c.do("COMPRESS DEFLATE")
	assert.Equal(t, "BAD Log in first", end)
	w = newWorld(t, func(s *imap.Server) { s.Disable = []string{"compress=deflate"} })
	_, end = w.login("anna").do("COMPRESS DEFLATE")
	assert.Equal(t, "BAD Unknown command", end)
}

// TestCompressPartial: a client that flushes partially, as zlib does it, gets its
// answers.
func TestCompressPartial(t *testing.T) {
	w := newWorld(t, nil)
	w.fill("anna", "INBOX", 3)
	c := w.login("anna")
	c.compress()
	raw := c.Conn.(*deflating).Conn
	b, err := os.ReadFile("testdata/compress-partial.txt")
	require.NoError(t, err)
	for _, line := range strings.Fields(string(b)) {
		tag, octets, _ := strings.Cut(line, "=")
		packed, err := hex.DecodeString(octets)
		require.NoError(t, err)
		for i := range packed { // however it is cut
			_, err = raw.Write(packed[i : i+1])
			require.NoError(t, err)
		}
		_, end := c.until(tag)
		assert.Regexp(t, "^OK ", end)
	}
}

// TestCompressPipelined: what is sent behind the command is compressed.
func TestCompressPipelined(t *testing.T) {
	w := newWorld(t, nil)
	c := w.login("anna")
	var packed bytes.Buffer
	z, err := flate.NewWriter(&packed, 9)
	require.NoError(t, err)
	_, _ = z.Write([]byte("b NOOP\r\n"))
	require.NoError(t, z.Flush())
	c.send("a COMPRESS DEFLATE\r\n" + packed.String())
	assert.Equal(t, "a OK DEFLATE active", c.line())
	c.r = bufio.NewReader(flate.NewReader(c.r))
	assert.Equal(t, "b OK NOOP completed", c.line())
}

// TestCompressBomb: input that expands without measure, and input that is none,
// end the session.
func TestCompressBomb(t *testing.T) {
	for name, text := range map[string]string{
		"bomb":    strings.Repeat("a NOOP\r\n", 1<<20),
		"garbage": "",
	} {
		w := newWorld(t, nil)
		c := w.login("anna")
		c.compress()
		if text == "" {
			_, err := c.Conn.(*deflating).Conn.Write([]byte("\x07\x07\x07\x07"))
			require.NoError(t, err)
		} else {
			go func() { // the answers are not read meanwhile
				_, _ = io.WriteString(c.Conn, text)
			}()
		}
		require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
		all, err := io.ReadAll(c.r)
		require.Error(t, err)
		assert.Contains(t, string(all), "* BYE Compressed data is not acceptable\r\n", name)
		assert.Less(t, bytes.Count(all, []byte("NOOP completed")), 500_000)
	}
}

// TestUnauthenticateEndsCompression: the answer is the last that is compressed
// (RFC 8437 §3).
func TestUnauthenticateEndsCompression(t *testing.T) {
	c := newWorld(t, nil).login("anna")
	plain, r := c.Conn, c.r
	for range 2 {
		c.compress()
		_, end := c.do("UNAUTHENTICATE")
		assert.Contains(t, end, "] Logged out of the account")
		c.Conn, c.r = plain, r
		_, end = c.do("STATUS INBOX (MESSAGES)")
		assert.Equal(t, "BAD Log in first", end)
		c.ok("LOGIN bob secret")
	}
}

// TestCompressIsSmall measures what a compressed connection holds beyond others
// while it idles.
func TestCompressIsSmall(t *testing.T) {
	w := newWorld(t, func(s *imap.Server) { s.MaxConnsPerAccount = -1 })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- w.srv.Serve(l) }()
	defer func() {
		require.NoError(t, w.srv.Close())
		<-served
	}()
	open := func(compress bool) {
		c, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
		require.NoError(t, prelude(c, "a LOGIN anna secret\r\n", "a OK"))
		if !compress {
			require.NoError(t, prelude(c, "i IDLE\r\n", "+ idling"))
			return
		}
		require.NoError(t, prelude(c, "c COMPRESS DEFLATE\r\n", "c OK"))
		_, err = c.Write([]byte("\x00\x08\x00\xf7\xffi IDLE\r\n")) // as it is (RFC 1951 §3.2.4)
		require.NoError(t, err)
		line, err := bufio.NewReaderSize(flate.NewReader(oneByte{c}), 16).ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "+ idling\r\n", line)
	}
	each := func(compress bool) int64 {
		const n = 100
		open(compress)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&before)
		for range n {
			open(compress)
		}
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&after)
		return int64(after.HeapInuse+after.StackInuse-before.HeapInuse-before.StackInuse) / n
	}
	plain := each(false)
	more := each(true) - plain
	t.Logf("%d octets more than the %d of a connection that is not compressed", more, plain)
	require.Less(t, more, int64(48<<10))
}
