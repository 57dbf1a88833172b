package smtp

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/memnet"
	"github.com/posta-mail/posta/internal/wire"
)

// A chunk that is cut short is no message, LAST or not.
func TestCutChunkIsNotAccepted(t *testing.T) {
	got := make(chan error, 1)
	l := testServer(t, &Server{Handler: Receive(ForDomains("example.org"), func(_ context.Context, _ *Envelope, r io.Reader) error {
		_, err := io.ReadAll(r)
		got <- err
		return nil // as if it had not noticed
	})})
	for _, s := range []string{"BDAT 10 LAST\r\nx\r\n", "BDAT 3\r\nx\r\n", "BDAT 3\r\nx\r\nBDAT 10 LAST\r\n", "BDAT 3\r\nx\r\nNOO"} {
		c := newTalk(t, l)
		c.begin(false)
		c.say(s)
		_ = c.Conn.(interface{ CloseWrite() error }).CloseWrite()
		require.ErrorIs(t, <-got, io.ErrUnexpectedEOF, s)
		rest, err := io.ReadAll(c.r)
		require.NoError(t, err)
		require.NotContains(t, strings.ReplaceAll(string(rest), "250 2.0.0 Chunk received\r\n", ""), "250", s)
	}
}

// The least rate holds for chunks as for DATA.
func TestChunksThatCrawl(t *testing.T) {
	t.Run("one chunk", func(t *testing.T) {
		bubble(t, &Server{}, func(t *testing.T, l *memnet.Listener, h *testHandler) {
			c := newTalk(t, l)
			c.begin(false)
			c.say("BDAT 1000 LAST\r\n")
			start := time.Now()
			go drip(c, strings.Repeat("x", 1000), 1, time.Minute)
			c.hear("421 4.4.2")
			require.InDelta(t, dataGrace+time.Minute, time.Since(start), float64(time.Minute))
		})
	})
	t.Run("slow but honest", func(t *testing.T) {
		bubble(t, &Server{}, func(t *testing.T, l *memnet.Listener, h *testHandler) {
			c := newTalk(t, l)
			c.begin(false)
			start := time.Now()
			go drip(c, "BDAT 300000 LAST\r\n"+strings.Repeat(strings.Repeat("x", 98)+"\r\n", 3000), 2000, 10*time.Second)
			c.hear("250 2.6.0")
			require.Greater(t, time.Since(start), 20*time.Minute)
			require.Len(t, h.messages(), 1)
		})
	})
}

func TestChunkTimeouts(t *testing.T) {
	for name, tc := range map[string]struct {
		say  string
		want time.Duration
	}{
		"within a chunk":  {"BDAT 10\r\nx\r\n", 3 * time.Minute},
		"between chunks":  {"BDAT 3\r\nx\r\n", 5 * time.Minute},
		"without message": {"RSET\r\nBDAT 10\r\nx\r\n", 3 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, &Server{}, func(t *testing.T, l *memnet.Listener, h *testHandler) {
				c := newTalk(t, l)
				c.begin(false)
				start := time.Now()
				c.say(tc.say)
				for {
					line, err := c.r.ReadString('\n')
					require.NoError(t, err)
					if strings.HasPrefix(line, "421 4.4.2") {
						break
					}
					require.True(t, strings.HasPrefix(line, "250 "), line)
				}
				require.Equal(t, tc.want, time.Since(start))
				c.hearEOF()
				require.Empty(t, h.messages())
			})
		})
	}
}

func TestEndlessCommandsBetweenChunks(t *testing.T) {
	for cmd, n := range map[string]int{"NOOP": 99, "NOPE": 10} { // one more no-op was EHLO
		l := testServer(t, &Server{Handler: &testHandler{}})
		c := newTalk(t, l)
		c.begin(false)
		c.say("BDAT 0\r\n")
		c.hear("250 2.0.0")
		for range n {
			c.say(cmd + "\r\n")
			c.hear(map[string]string{"NOOP": "250 ", "NOPE": "503 "}[cmd])
		}
		c.say(cmd + "\r\n")
		c.hear("421 4.7.0")
		c.hearEOF()
	}
}

func TestLineChecker(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want error
	}{
		{"a\r\nb\r\n\r\n", nil},
		{"12345678\r\n", nil},
		{"123456789\r\n", wire.ErrLineTooLong},
		{"1234567890", nil},
		{"12345678901", wire.ErrLineTooLong},
		{"12345678901\n", wire.ErrLineTooLong},
		{"a\nb", wire.ErrBareLF},
		{"a\rb", wire.ErrBareCR},
		{"a\r\r\n", wire.ErrBareCR},
		{"123456789\rx", wire.ErrBareCR},
		{"1234567890\rx", wire.ErrLineTooLong},
		{"1234567890\n", wire.ErrBareLF},
	} {
		whole := lineChecker{max: 10}
		require.Equal(t, tc.want, whole.write([]byte(tc.in)), "%q", tc.in)
		pieces := lineChecker{max: 10}
		var err error
		for i := range len(tc.in) {
			if err = pieces.write([]byte{tc.in[i]}); err != nil {
				break
			}
		}
		require.Equal(t, tc.want, err, "%q", tc.in)
	}
}

// BenchmarkChunks is a message of 1 MiB in one chunk.
func BenchmarkChunks(b *testing.B) {
	body := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 1<<20/72)
	nc, r := benchConn(b)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		benchWrite(b, nc, "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nBDAT 1048536 LAST\r\n")
		benchWrite(b, nc, body)
		benchRead(b, r, 3)
	}
}
