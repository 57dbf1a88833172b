// Package testscript runs protocol dialogues that are kept as files: what the
// client says, and what the server must answer.
//
//	# a comment; blank lines are skipped
//	C: NOOP                    send the line with CRLF
//	C- "raw\r\nbytes"          send a Go string literal as it is
//	C* 70000 x                 send a letter that many times
//	S: 250 2.0.0 OK            the next line is exactly this
//	S~ 250 .*queued as (\w+)   the next line matches all of this expression
//	S* 250 .*                  lines follow until one matches; it is the last read
//	S= 42                      skip that many octets (a literal)
//	S- "raw\r\nbytes"          the next octets are exactly this Go string literal
//	EOF                        the server has closed the connection
//	CLOSE                      close the connection
//	TLS                        make the client's side of a handshake
//	SCRAM SHA-256 secret n,,n=anna,r=abc ${first}
//	                           send SCRAM's proof for this password after these
//	                           messages, the second in base64, and keep the
//	                           server's as ${signature}
//	ANY                        the S: and S~ lines up to END come in any order
//
// Literals of IMAP are written as they are, and counted: a C:, S: or S~ line
// that ends with {#} or {#+} is followed by the lines of the literal.
//
//	C: a APPEND INBOX {#}      {#}: wait for the server's "+" line; {#+}: do not
//	L: Subject: hello          a line with CRLF
//	L- "no\x00end"             a Go string literal as it is
//	C:                         and the rest of the command
//
// A group (?P<name>…) in S~ or S* keeps what it matched; ${name} in later
// lines stands for it. A line may begin with the number of a connection,
// "2C:", "2S:"; without one it is connection 1, and connections are opened
// when they are first named. "OPEN 2" opens one and says nothing.
package testscript

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Config says how dialogues reach their server.
type Config struct {
	// Dial opens a connection. Called once for every connection number.
	Dial func(ctx context.Context) (net.Conn, error)
	// TLS is used by the TLS directive.
	TLS *tls.Config
	// Vars are substituted like captured ones.
	Vars map[string]string
	// Timeout bounds the wait for a line; 10 s if zero.
	Timeout time.Duration
}

// RunDir runs every file of dir whose name matches pattern as a subtest, each
// with a config of its own from setup.
func RunDir(t *testing.T, pattern string, setup func(t *testing.T, name string) Config) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no dialogue matches %q: %v", pattern, err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), filepath.Ext(f))
		t.Run(name, func(t *testing.T) { RunFile(t, f, setup(t, name)) })
	}
}

// RunFile runs one dialogue.
func RunFile(t testing.TB, file string, cfg Config) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	Run(t, file, string(b), cfg)
}

// Run runs a dialogue given as text; name stands in messages.
func Run(t testing.TB, name, script string, cfg Config) {
	t.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	d := &dialogue{cfg: cfg, conns: map[string]*peer{}, vars: map[string]string{}, lines: strings.Split(script, "\n")}
	for k, v := range cfg.Vars {
		d.vars[k] = v
	}
	defer d.close()
	for {
		line, ok := d.next()
		if !ok {
			return
		}
		at := d.at
		if err := d.do(line); err != nil {
			t.Fatalf("%s:%d: %s\n%v", name, at, line, err)
		}
	}
}

type dialogue struct {
	cfg   Config
	conns map[string]*peer
	vars  map[string]string
	lines []string
	at    int // how many of them have been read
}

// next is the next line that says something.
func (d *dialogue) next() (line string, ok bool) {
	for d.at < len(d.lines) {
		line = strings.TrimRight(d.lines[d.at], "\r")
		d.at++
		if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#") {
			return line, true
		}
	}
	return "", false
}

type peer struct {
	net.Conn
	r *bufio.Reader
}

func (d *dialogue) close() {
	for _, c := range d.conns {
		_ = c.Close()
	}
}

func (d *dialogue) conn(id string) (*peer, error) {
	if id == "" {
		id = "1"
	}
	if c := d.conns[id]; c != nil {
		return c, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), d.cfg.Timeout)
	defer cancel()
	c, err := d.cfg.Dial(ctx)
	if err != nil {
		return nil, err
	}
	p := &peer{Conn: c, r: bufio.NewReader(c)}
	d.conns[id] = p
	return p, nil
}

var (
	directive = regexp.MustCompile(`^(\d*)(C:|C-|C\*|S:|S~|S\*|S=|S-|EOF|CLOSE|TLS|SCRAM)(?: (.*))?$`)
	variable  = regexp.MustCompile(`\$\{(\w+)\}`)
)

func (d *dialogue) do(line string) error {
	if id, ok := strings.CutPrefix(line, "OPEN "); ok {
		_, err := d.conn(id)
		return err
	}
	if line == "ANY" {
		return d.anyOrder()
	}
	m := directive.FindStringSubmatch(line)
	if m == nil {
		return fmt.Errorf("not a directive")
	}
	c, err := d.conn(m[1])
	if err != nil {
		return err
	}
	arg := d.substitute(m[2], m[3])
	_ = c.SetDeadline(time.Now().Add(d.cfg.Timeout))
	switch m[2] {
	case "C:":
		err = d.send(c, arg)
	case "C-":
		if arg, err = strconv.Unquote(arg); err == nil {
			_, err = io.WriteString(c, arg)
		}
	case "C*":
		n, what, _ := strings.Cut(arg, " ")
		count, _ := strconv.Atoi(n)
		_, err = io.WriteString(c, strings.Repeat(what, count))
	case "S:", "S~", "S*":
		var lit *string
		if arg, lit, err = d.counted(m[2], arg); err != nil {
			return err
		}
		if err = d.expect(c, m[2], arg); err == nil && lit != nil {
			err = c.octets(*lit)
		}
	case "S-":
		if arg, err = strconv.Unquote(arg); err == nil {
			err = c.octets(arg)
		}
	case "S=":
		n, _ := strconv.ParseInt(arg, 10, 64)
		_, err = io.CopyN(io.Discard, c.r, n)
	case "EOF":
		err = c.expectEOF()
	case "CLOSE":
		err = c.Close()
	case "TLS":
		err = d.startTLS(c)
	case "SCRAM":
		err = d.scram(c, arg)
	}
	return err
}

// substitute puts in variables, as text that is not an expression.
func (d *dialogue) substitute(kind, arg string) string {
	return variable.ReplaceAllStringFunc(arg, func(v string) string {
		val := d.vars[v[2:len(v)-1]]
		if kind == "S~" || kind == "S*" {
			val = regexp.QuoteMeta(val)
		}
		return val
	})
}

func (d *dialogue) expect(c *peer, kind, want string) error {
	p, err := newPattern(kind, want)
	if err != nil {
		return err
	}
	for skipped := 0; ; skipped++ {
		got, err := c.line()
		if err != nil {
			return err
		}
		switch {
		case p.matches(got, d.vars):
			return nil
		case kind != "S*":
			return fmt.Errorf("got  %q", got)
		case skipped > 10000:
			return fmt.Errorf("no line matches, last %q", got)
		}
	}
}

// line reads a line without its end.
func (c *peer) line() (string, error) {
	got, err := c.r.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("got %q and %w", got, err)
	}
	got, ok := strings.CutSuffix(got, "\r\n")
	if !ok {
		return "", fmt.Errorf("got a line that ends with a bare LF: %q", got)
	}
	return got, nil
}

// octets reads what must be these octets.
func (c *peer) octets(want string) error {
	got := make([]byte, len(want))
	n, err := io.ReadFull(c.r, got)
	if err != nil {
		return fmt.Errorf("got %q and %w", got[:n], err)
	}
	if string(got) != want {
		return fmt.Errorf("want %q\ngot  %q", want, got)
	}
	return nil
}

// pattern is what a line must be: this text, or what the expression matches.
type pattern struct {
	text string
	expr *regexp.Regexp
}

func newPattern(kind, want string) (pattern, error) {
	if kind == "S:" {
		return pattern{text: want}, nil
	}
	re, err := regexp.Compile(`^(?s:` + want + `)$`)
	return pattern{text: want, expr: re}, err
}

// matches keeps what named groups have matched in vars.
func (p pattern) matches(line string, vars map[string]string) bool {
	if p.expr == nil {
		return line == p.text
	}
	m := p.expr.FindStringSubmatch(line)
	if m == nil {
		return false
	}
	for i, n := range p.expr.SubexpNames() {
		if n != "" {
			vars[n] = m[i]
		}
	}
	return true
}

func (c *peer) expectEOF() error {
	b, err := c.r.ReadByte()
	if err == nil {
		rest, _ := c.r.Peek(min(c.r.Buffered(), 80))
		return fmt.Errorf("connection is open and says %q", string(b)+string(rest))
	}
	var ne net.Error
	if ok := asNetError(err, &ne); ok && ne.Timeout() {
		return fmt.Errorf("connection is still open")
	}
	return nil // io.EOF or a reset
}

func asNetError(err error, target *net.Error) bool {
	ne, ok := err.(net.Error)
	if ok {
		*target = ne
	}
	return ok
}

func (d *dialogue) startTLS(c *peer) error {
	cfg := d.cfg.TLS
	if cfg == nil {
		return fmt.Errorf("no TLS configuration for this dialogue")
	}
	t := tls.Client(c.Conn, cfg)
	ctx, cancel := context.WithTimeout(context.Background(), d.cfg.Timeout)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		return err
	}
	c.Conn, c.r = t, bufio.NewReader(t)
	return nil
}
