package imaptest

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Client is a connection to a Server for tests: it sends commands and collects
// what is answered, as text. Whatever fails ends the test. Not safe for
// concurrent use.
type Client struct {
	tb   testing.TB
	conn net.Conn
	tls  *tls.Config
	r    *bufio.Reader
	tag  int

	// Greeting is what the server began with.
	Greeting string
}

// NewClient connects to a Server and reads its greeting. The connection is
// closed when the test ends.
func NewClient(tb testing.TB, s *Server) *Client {
	tb.Helper()
	conn, err := s.connect(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	c := &Client{tb: tb, conn: conn, r: bufio.NewReader(conn)}
	if s.Authority != nil {
		c.tls = s.client()
	}
	c.Greeting = c.Response()
	return c
}

// Answer is what the server said to a command.
type Answer struct {
	// Untagged are the responses before the tagged one, as Response gives them.
	Untagged []string
	// Status is OK, NO or BAD, Code the response code without its brackets, and
	// Text what follows.
	Status, Code, Text string
}

// Command sends a command, formatted as fmt does it and without its tag, and
// reads until it is done. Literals are written with Literal.
func (c *Client) Command(format string, args ...any) Answer {
	c.tb.Helper()
	c.tag++
	tag := "c" + strconv.Itoa(c.tag)
	c.Send(tag + " " + fmt.Sprintf(format, args...) + "\r\n")
	var a Answer
	for {
		line := c.Response()
		end, ok := strings.CutPrefix(line, tag+" ")
		if !ok {
			a.Untagged = append(a.Untagged, line)
			continue
		}
		a.Status, a.Text, _ = strings.Cut(end, " ")
		if code, ok := strings.CutPrefix(a.Text, "["); ok {
			a.Code, a.Text, _ = strings.Cut(code, "] ")
		}
		return a
	}
}

// OK is Command where the status must be OK. It returns the untagged responses.
func (c *Client) OK(format string, args ...any) []string {
	c.tb.Helper()
	a := c.Command(format, args...)
	if a.Status != "OK" {
		c.tb.Fatalf("imaptest: %s: %s [%s] %s", fmt.Sprintf(format, args...), a.Status, a.Code, a.Text)
	}
	return a.Untagged
}

// Login logs in by LOGIN.
func (c *Client) Login(user, password string) {
	c.tb.Helper()
	c.OK("LOGIN %s %s", Literal(user), Literal(password))
}

// StartTLS sends STARTTLS and makes the handshake, with a Server of NewTLSServer.
func (c *Client) StartTLS() {
	c.tb.Helper()
	c.OK("STARTTLS")
	conn := tls.Client(c.conn, c.tls)
	if err := conn.HandshakeContext(c.tb.Context()); err != nil {
		c.tb.Fatal(err)
	}
	c.conn, c.r = conn, bufio.NewReader(conn)
}

// Literal is text as a literal that the server does not need to ask for (RFC
// 7888).
func Literal(text string) string { return "{" + strconv.Itoa(len(text)) + "+}\r\n" + text }

// Send sends octets as they are.
func (c *Client) Send(octets string) {
	c.tb.Helper()
	_ = c.conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c.conn, octets); err != nil {
		c.tb.Fatal(err)
	}
}

// Response reads one response: a line without its CRLF, with the literals in it,
// each behind its "{n}" and CRLF. No more than 10 seconds are waited for it.
func (c *Client) Response() string {
	c.tb.Helper()
	_ = c.conn.SetDeadline(time.Now().Add(patience))
	var b strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.tb.Fatalf("imaptest: got %q and %v", b.String()+line, err)
		}
		line = strings.TrimSuffix(line, "\r\n")
		b.WriteString(line)
		n, ok := literalSize(line)
		if !ok {
			return b.String()
		}
		b.WriteString("\r\n")
		if _, err := io.CopyN(&b, c.r, n); err != nil {
			c.tb.Fatalf("imaptest: literal is cut short: %v", err)
		}
	}
}

// literalSize is that of the literal which a line announces.
func literalSize(line string) (n int64, ok bool) {
	i := strings.LastIndexByte(line, '{')
	if i < 0 || !strings.HasSuffix(line, "}") {
		return 0, false
	}
	n, err := strconv.ParseInt(line[i+1:len(line)-1], 10, 64)
	return n, err == nil && n >= 0
}

// Close closes the connection.
func (c *Client) Close() error { return c.conn.Close() }
