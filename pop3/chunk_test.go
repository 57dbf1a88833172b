package pop3

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Dots and line ends on the border of what is read and written at a time.
func TestBorders(t *testing.T) {
	st := testStore(t)
	var texts []string
	for _, end := range []string{"\r\n", "\n", "\r", "\r\n.\r\n", "\n.\n", "\r\r.\n", ".\r\n..\r\n"} {
		for at := bulkSize - 5; at <= bulkSize+1; at++ {
			text := "a: b\r\n\r\n" + strings.Repeat("x", at-8-len(end)) + end + ".y" + end + strings.Repeat(".z\r\n", 9000)
			put(t, st, "empty", text)
			texts = append(texts, text)
		}
	}
	for _, budget := range []int64{0, 1} {
		c := login(t, testServer(t, &Server{Store: st, Auth: testAuth{}, InsecureAuth: true, MemoryBudget: budget}), "empty")
		for i, text := range texts {
			c.say(fmt.Sprintf("RETR %d\r\n", i+1))
			want := wantTop(text, 1<<62)
			c.hear(fmt.Sprintf("+OK %d octets", len(text)))
			got := make([]byte, len(want))
			_, err := io.ReadFull(c.r, got)
			require.NoError(t, err)
			require.Equal(t, want, string(got))
			c.say(fmt.Sprintf("TOP %d 2\r\n", i+1))
			want = wantTop(text, 2)
			c.hear("+OK ")
			got = got[:len(want)]
			_, err = io.ReadFull(c.r, got)
			require.NoError(t, err)
			require.Equal(t, want, string(got))
		}
		c.say("QUIT\r\n")
		c.hear("+OK Bye")
	}
}
