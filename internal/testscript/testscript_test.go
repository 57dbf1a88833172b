package testscript_test

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/posta-mail/posta/internal/testfail"
	"github.com/posta-mail/posta/internal/testscript"
)

// against plays a script with a server that says all of out at once and wants
// in; it returns why the script failed.
func against(t *testing.T, out, in, script string) string {
	client, server := net.Pipe()
	got := make(chan string, 1)
	go func() { _, _ = io.WriteString(server, out) }()
	go func() {
		b, _ := io.ReadAll(server)
		got <- string(b)
	}()
	why := testfail.Run(t, func(t testing.TB) {
		testscript.Run(t, "x", script, testscript.Config{
			Dial:    func(context.Context) (net.Conn, error) { return client, nil },
			Vars:    map[string]string{"who": "a.b"},
			Timeout: time.Second,
		})
	})
	_ = server.SetDeadline(time.Now())
	_ = client.Close()
	if said := <-got; why == "" {
		assert.Equal(t, in, said)
	}
	return why
}

func TestScript(t *testing.T) {
	for _, c := range []struct{ what, out, in, script, why string }{
		{"any order", "b 2\r\na 1\r\nc\r\n", "", "ANY\nS: a 1\nS~ b (?P<n>\\d)\nEND\nS: c", ""},
		{"any order, the text first", "x y\r\nx z\r\n", "", "ANY\nS~ x .*\nS: x y\nEND", ""},
		{"any order, one missing", "a\r\na\r\n", "", "ANY\nS: a\nS: b\nEND", `once too often: "a"`},
		{"any order, nothing more", "a\r\n", "", "ANY\nS: a\nS: b\nEND", `1 responses of the block are missing, the first "b"`},
		{"any order, then others", "a\r\nb\r\n", "", "ANY\nS: a\nEND\nS: c", `got  "b"`},
		{"any order without end", "a\r\n", "", "ANY\nS: a", "ANY without END"},
		{"nothing in any order", "a\r\n", "", "ANY\nEND", "the block is empty"},
		{"others in any order", "a\r\n", "", "ANY\nC: a\nEND", "only S: and S~"},
		{"a variable of a block", "n 7\r\nm 7\r\n", "", "ANY\nS~ n (?P<n>\\d)\nEND\nS: m ${n}", ""},
		{"a variable is no expression", "axb\r\n", "", "S~ ${who}", `got  "axb"`},
		{"literals in any order", "* 2 {3}\r\nx\r\n) b\r\n* 1 {5}\r\na\x00\r\ny)\r\n", "", "ANY\nS: * 1 {#}\nL- \"a\\x00\\r\\ny\"\nS: )\nS~ \\* \\d {#}\nL: x\nS~ \\) .\nEND", ""},
		{"another literal in any order", "* 1 {3}\r\nx\r\n)\r\n", "", "ANY\nS: * 1 {#}\nL: y\nS: )\nEND", `got  "x\r\n"`},
		{"a literal", "{6}\r\nab\r\n\r\n)\r\n", "", "S: {#}\nL: ab\nL:\nS: )", ""},
		{"a literal of another size", "{6}\r\nab\r\n\r\n)\r\n", "", "S: {#}\nL: ab\nS: )", `got  "{6}"`},
		{"octets", "abc\r\n", "", "S- \"ab\"\nS: c", ""},
		{"other octets", "abc\r\n", "", "S- \"aa\"\nS: c", `want "aa"`},
		{"a literal to send", "+ go on\r\n", "a {5}\r\na.b\r\n x {2+}\r\nyy z\r\n", "C: a {#}\nL: ${who}\nC:  x {#+}\nL- \"yy\"\nC:  z", ""},
		{"a literal that is refused", "a NO\r\n", "", "C: a {#}\nL: x\nC:", "the literal is not wanted"},
	} {
		why := against(t, c.out, c.in, c.script)
		if c.why == "" {
			assert.Empty(t, why, c.what)
		} else {
			assert.Contains(t, why, c.why, c.what)
		}
	}
}
