package smtp

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// readingSession takes messages in as it is told, and gives one result for each
// recipient but so many.
type readingSession struct {
	nullSession
	read    func(w io.Writer, r io.Reader) error
	got     bytes.Buffer
	missing int
	rcpts   int
}

func (s *readingSession) Rcpt(context.Context, Path, RcptOptions) (Reply, error) {
	s.rcpts++
	return Reply{}, nil
}

func (s *readingSession) Reset() { s.rcpts = 0 }

func (s *readingSession) Data(_ context.Context, r io.Reader) (Result, error) {
	s.got.Reset()
	err := s.read(&s.got, r)
	return Result{Recipients: make([]error, max(s.rcpts-s.missing, 0))}, err
}

// What a Session reads is the message, octet for octet, however it reads and
// however it comes: DATA without the stuffed dots and the final one, BDAT as it
// is (RFC 5321 §4.5.2, RFC 3030 §2).
func TestMessageIsExact(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	ways := map[string]func(w io.Writer, r io.Reader) error{
		"copy": func(w io.Writer, r io.Reader) error { _, err := io.Copy(w, r); return err },
		"all": func(w io.Writer, r io.Reader) error {
			b, err := io.ReadAll(r)
			_, _ = w.Write(b)
			return err
		},
		"bytes": func(w io.Writer, r io.Reader) error {
			_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, 1))
			return err
		},
		"begun and copied": func(w io.Writer, r io.Reader) error {
			_, err := io.CopyN(w, r, 5)
			if err == io.EOF {
				return nil
			}
			_, err = io.Copy(w, r)
			return err
		},
	}
	for name, read := range ways {
		t.Run(name, func(t *testing.T) {
			s := &readingSession{read: read}
			l := testServer(t, &Server{Handler: HandlerFunc(func(context.Context, *Conn) (Session, error) { return s, nil })})
			c := newTalk(t, l)
			c.hear("220 ")
			c.say("EHLO x\r\n")
			c.hear("250 ")
			for range 60 {
				want := randomMessage(rng)
				c.say("MAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
				c.hear("250 ", "250 ", "354 ")
				c.say(strings.TrimPrefix(strings.ReplaceAll("\r\n"+want, "\r\n.", "\r\n.."), "\r\n") + ".\r\n")
				c.hear("250 ")
				require.Equal(t, want, s.got.String())
				c.say("MAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\n")
				c.hear("250 ", "250 ")
				for rest := want; ; {
					n := rng.IntN(len(rest) + 1)
					if rng.IntN(3) == 0 {
						c.say(fmt.Sprintf("BDAT %d LAST\r\n%s", len(rest), rest))
						c.hear("250 ")
						break
					}
					c.say(fmt.Sprintf("BDAT %d\r\n%s", n, rest[:n]))
					c.hear("250 ")
					rest = rest[n:]
				}
				require.Equal(t, want, s.got.String())
			}
		})
	}
}

// randomMessage has lines that begin with dots, are empty, or are long.
func randomMessage(rng *rand.Rand) string {
	var b strings.Builder
	for range rng.IntN(8) {
		b.WriteString(strings.Repeat(".", rng.IntN(4)))
		b.WriteString(strings.Repeat("x", rng.IntN(2)*rng.IntN(6000)))
		b.WriteString("\r\n")
	}
	return b.String()
}

// In LMTP, who has no result has not been taken care of (RFC 2033 §4.2); no
// results at all are success for everybody.
func TestMissingResults(t *testing.T) {
	for missing, want := range [][]string{{"250 ", "250 ", "250 "}, {"250 ", "250 ", "451 4.3.0"}, {"250 ", "451 4.3.0", "451 4.3.0"}, {"250 ", "250 ", "250 "}} {
		s := &readingSession{read: func(w io.Writer, r io.Reader) error { _, err := io.Copy(w, r); return err }, missing: missing}
		l := testServer(t, &Server{LMTP: true, Handler: HandlerFunc(func(context.Context, *Conn) (Session, error) { return s, nil })})
		c := newTalk(t, l)
		c.hear("220 ")
		c.say("LHLO x\r\nMAIL FROM:<>\r\n" + strings.Repeat("RCPT TO:<b@example.org>\r\n", 3) + "DATA\r\n")
		c.hear("250 ", "250 ", "250 ", "250 ", "250 ", "354 ")
		c.say("x\r\n.\r\n")
		c.hear(want...)
		c.say("NOOP\r\n")
		c.hear("250 ")
	}
}
