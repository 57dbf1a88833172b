package interop

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// response reads one response, literals included, without its last CRLF.
func (k *talk) response() []byte {
	k.t.Helper()
	var all []byte
	for {
		line, err := k.r.ReadBytes('\n')
		require.NoError(k.t, err)
		all = append(all, line...)
		n, ok := announced(line)
		if !ok {
			return bytes.TrimSuffix(all, []byte("\r\n"))
		}
		at := len(all)
		all = append(all, make([]byte, n)...)
		_, err = io.ReadFull(k.r, all[at:])
		require.NoError(k.t, err)
	}
}

// announced is the size of a literal that the end of a line announces.
func announced(line []byte) (int, bool) {
	if line = bytes.TrimRight(line, "\r\n"); !bytes.HasSuffix(line, []byte("}")) {
		return 0, false
	}
	at := bytes.LastIndexByte(line, '{')
	if at < 0 {
		return 0, false
	}
	n, err := strconv.Atoi(string(line[at+1 : len(line)-1]))
	return n, err == nil
}

// ask sends a command, whatever comes of it: the untagged responses and the
// tagged one without its tag and text.
func (k *talk) ask(cmd string) (untagged [][]byte, status string) {
	k.t.Helper()
	k.n++
	tag := fmt.Sprintf("t%d ", k.n)
	_ = k.c.SetDeadline(time.Now().Add(time.Minute))
	_, err := io.WriteString(k.c, tag+cmd+"\r\n")
	require.NoError(k.t, err)
	for {
		r := k.response()
		if rest, ok := bytes.CutPrefix(r, []byte(tag)); ok {
			status, rest, _ := strings.Cut(string(rest), " ")
			if strings.HasPrefix(rest, "[") {
				code, _, _ := strings.Cut(rest, "]")
				status += " " + code + "]"
			}
			return untagged, status
		}
		untagged = append(untagged, r)
	}
}

// value writes the value at the start of b in one way, whichever of the ways to
// write a string was taken, and returns what follows.
func value(b []byte) (text string, rest []byte, err error) {
	b = bytes.TrimLeft(b, " ")
	bad := fmt.Errorf("no value: %.60q", b)
	switch {
	case len(b) == 0:
		return "", nil, bad
	case b[0] == '(':
		var list []string
		for b = b[1:]; ; {
			if b = bytes.TrimLeft(b, " "); len(b) > 0 && b[0] == ')' {
				return "(" + strings.Join(list, " ") + ")", b[1:], nil
			}
			var v string
			if v, b, err = value(b); err != nil {
				return "", nil, err
			}
			list = append(list, v)
		}
	case b[0] == '"':
		var s []byte
		for i := 1; i < len(b); i++ {
			if b[i] == '"' {
				return strconv.Quote(string(s)), b[i+1:], nil
			}
			if b[i] == '\\' && i+1 < len(b) {
				i++
			}
			if b[i] >= 0x80 { // RFC 3501 §9, and nothing was enabled
				return "", nil, fmt.Errorf("8 bit in a quoted string: %.60q", b)
			}
			s = append(s, b[i])
		}
		return "", nil, bad
	case b[0] == '{' || bytes.HasPrefix(b, []byte("~{")):
		line, after, _ := bytes.Cut(b, []byte("\r\n"))
		n, ok := announced(line)
		if !ok || n > len(after) {
			return "", nil, bad
		}
		return strconv.Quote(string(after[:n])), after[n:], nil
	}
	depth, i := 0, 0 // of brackets, within which everything belongs to the name
	for ; i < len(b) && (depth > 0 || b[i] != ' ' && b[i] != '(' && b[i] != ')'); i++ {
		switch b[i] {
		case '[':
			depth++
		case ']':
			depth--
		}
	}
	if i == 0 {
		return "", nil, bad
	}
	return string(b[:i]), b[i:], nil
}

// fetched are the items of the answers to a FETCH, by message number and name.
func fetched(t *testing.T, untagged [][]byte) map[int]map[string]string {
	t.Helper()
	all := map[int]map[string]string{}
	for _, r := range untagged {
		var n int
		if _, err := fmt.Sscanf(string(r[:min(len(r), 40)]), "* %d FETCH (", &n); err != nil {
			continue
		}
		at := bytes.IndexByte(r, '(')
		rest := r[at+1:]
		if all[n] == nil {
			all[n] = map[string]string{}
		}
		for len(rest) > 0 && rest[0] != ')' {
			name, after, err := value(rest)
			require.NoError(t, err, "%q", r)
			v, after, err := value(after)
			require.NoError(t, err, "%q", r)
			all[n][strings.ToUpper(name)] = v
			rest = bytes.TrimLeft(after, " ")
		}
		require.Equal(t, ")", string(rest), "%q", r)
	}
	return all
}
