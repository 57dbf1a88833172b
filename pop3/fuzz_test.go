package pop3

import (
	"bytes"
	"context"
	"io"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/internal/memnet"
	"github.com/posta-mail/posta/internal/wire"
	"github.com/posta-mail/posta/store"
)

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "NOOP", "PASS  a b ", "top 1 2", "TOP 1", "TOP 1  2 ", "RETR 9223372036854775807", "RETR 9223372036854775808", "LIST -1", "LIST 0x1", "LIST ١", "\x00 \xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		verb, args := parseCommand(line)
		if i := strings.IndexByte(line, ' '); i >= 0 {
			require.Equal(t, line[i+1:], args)
		} else {
			require.Empty(t, args)
		}
		require.NotContains(t, verb, " ")
		n, ok := parseNumber(args)
		want, valid := new(big.Int).SetString(args, 10)
		valid = valid && strings.Trim(args, "0123456789") == ""
		require.Equal(t, valid, ok)
		if valid {
			if !want.IsInt64() {
				want = big.NewInt(math.MaxInt64)
			}
			require.Equal(t, want.Int64(), n)
		}
		msg, lines, ok := parseTop(args)
		require.NotContains(t, msg, " ")
		require.True(t, !ok || lines >= 0)
	})
}

// lines cuts a text into lines as wire.DotWriter does.
func lines(text string) []string {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	text = strings.ReplaceAll(text, "\r", "\n")
	out := strings.SplitAfter(text, "\n")
	if out[len(out)-1] == "" {
		out = out[:len(out)-1]
	}
	for i := range out {
		out[i] = strings.TrimSuffix(out[i], "\n")
	}
	return out
}

// wantTop is what TOP sends, by the words of RFC 1939.
func wantTop(text string, n int64) string {
	var b strings.Builder
	body := false
	for _, l := range lines(text) {
		if body {
			if n--; n < 0 {
				break
			}
		}
		body = body || l == ""
		if strings.HasPrefix(l, ".") {
			b.WriteByte('.')
		}
		b.WriteString(l + "\r\n")
	}
	return b.String() + ".\r\n"
}

// However a message arrives in pieces, TOP sends the same of it.
func FuzzTop(f *testing.F) {
	for i, m := range testMail {
		f.Add(m, int64(i), 1+i)
	}
	f.Add("a\r\r\n\n.\n\n.", int64(1), 1)
	f.Add("\n\r\n\r\r\n", int64(2), 2)
	f.Fuzz(func(t *testing.T, text string, n int64, size int) {
		if n < 0 || len(text) > 1<<16 {
			return
		}
		var b bytes.Buffer
		w := wire.NewDotWriter(&b)
		cut := &topCut{left: n}
		for rest := []byte(text); len(rest) > 0 && !cut.done; {
			piece := rest[:min(len(rest), max(size, 1))]
			rest = rest[len(piece):]
			_, err := w.Write(piece[:cut.take(piece)])
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
		require.Equal(t, wantTop(text, n), b.String())
	})
}

// keepStore deletes nothing, so that one store serves all sessions alike.
type keepStore struct{ store.Store }

func (s keepStore) Account(ctx context.Context, name, actor string) (store.Account, error) {
	acc, err := s.Store.Account(ctx, name, actor)
	if err != nil {
		return nil, err
	}
	return keepAccount{acc}, nil
}

type keepAccount struct{ store.Account }

func (a keepAccount) Mailbox(ctx context.Context, name string) (store.Mailbox, error) {
	mb, err := a.Account.Mailbox(ctx, name)
	return keepMailbox{mb}, err
}

type keepMailbox struct{ store.Mailbox }

func (m keepMailbox) Expunge(_ context.Context, uids store.UIDSet, _ ...store.Flag) (store.Expunged, error) {
	return store.Expunged{UIDs: uids}, nil
}

// transcript is all that the server says to input that comes in pieces.
func transcript(t testing.TB, l *memnet.Listener, input []byte, size int) string {
	nc, err := l.Dial(context.Background())
	require.NoError(t, err)
	defer nc.Close()
	go func() {
		for rest := input; len(rest) > 0; {
			n := min(len(rest), size)
			if _, err := nc.Write(rest[:n]); err != nil {
				break
			}
			rest = rest[n:]
		}
		_ = nc.(interface{ CloseWrite() error }).CloseWrite()
	}()
	b, err := io.ReadAll(nc)
	require.NoError(t, err)
	return string(b)
}

// A session is the same whether its input comes at once or octet by octet, and
// what the server says is made of whole lines.
func FuzzSession(f *testing.F) {
	in := "USER anna\r\nPASS " + password + "\r\n"
	for _, s := range []string{
		"",
		in + "STAT\r\nLIST\r\nUIDL\r\nRETR 3\r\nTOP 2 1\r\nDELE 1\r\nRSET\r\nDELE 2\r\nQUIT\r\nNOOP\r\n",
		in + "RETR 0\r\nTOP 1 99999999999999999999\r\nLIST 4294967297\r\nDELE 1\r\nRETR 1\r\n",
		"AUTH PLAIN\r\nAGFubmEAdGFuc3RhYWYgdGFuc3RhYWYg\r\nCAPA\r\nSTLS\r\nQUIT\r\n",
		"AUTH LOGIN =\r\n*\r\nAUTH PLAIN ====\r\nAUTH PLAIN\r\n\r\n",
		strings.Repeat("x", 300) + "\r\nUSER a\r\n" + strings.Repeat("y", 256) + "\r\nNOOP\r\n",
		"USER anna\nPASS x\n", "USER anna\rPASS", "GET / HTTP/1.1\r\n\r\n", in + "NOOP",
		"STLS\r\nUSER anna\r\n", strings.Repeat("X\r\n", 20),
	} {
		f.Add([]byte(s))
	}
	s := &Server{Store: keepStore{testStore(f)}, Auth: testAuth{}, InsecureAuth: true, Governor: &auth.Governor{Off: true}, Hostname: "pop.example.org"}
	l := testServer(f, s)
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) > 4096 {
			return
		}
		whole := transcript(t, l, input, len(input)+1)
		require.Equal(t, whole, transcript(t, l, input, 1))
		require.True(t, strings.HasPrefix(whole, "+OK pop.example.org POP3 ready\r\n"))
		require.True(t, strings.HasSuffix(whole, "\r\n"))
		rest := strings.ReplaceAll(whole, "\r\n", "")
		require.False(t, strings.ContainsAny(rest, "\r\n"), "bare CR or LF in %q", whole)
		require.Zero(t, s.shared.budget.Used())
	})
}
