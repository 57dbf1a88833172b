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
//	EOF                        the server has closed the connection
//	CLOSE                      close the connection
//	TLS                        make the client's side of a handshake
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
	d := &dialogue{cfg: cfg, conns: map[string]*peer{}, vars: map[string]string{}}
	for k, v := range cfg.Vars {
		d.vars[k] = v
	}
	defer d.close()
	for i, line := range strings.Split(script, "\n") {
		line = strings.TrimRight(line, "\r")
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := d.do(line); err != nil {
			t.Fatalf("%s:%d: %s\n%v", name, i+1, line, err)
		}
	}
}

type dialogue struct {
	cfg   Config
	conns map[string]*peer
	vars  map[string]string
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
	directive = regexp.MustCompile(`^(\d*)(C:|C-|C\*|S:|S~|S\*|S=|EOF|CLOSE|TLS)(?: (.*))?$`)
	variable  = regexp.MustCompile(`\$\{(\w+)\}`)
)

func (d *dialogue) do(line string) error {
	if id, ok := strings.CutPrefix(line, "OPEN "); ok {
		_, err := d.conn(id)
		return err
	}
	m := directive.FindStringSubmatch(line)
	if m == nil {
		return fmt.Errorf("not a directive")
	}
	c, err := d.conn(m[1])
	if err != nil {
		return err
	}
	regex := m[2] == "S~" || m[2] == "S*"
	arg := variable.ReplaceAllStringFunc(m[3], func(v string) string {
		val := d.vars[v[2:len(v)-1]]
		if regex {
			val = regexp.QuoteMeta(val)
		}
		return val
	})
	_ = c.SetDeadline(time.Now().Add(d.cfg.Timeout))
	switch m[2] {
	case "C:":
		_, err = io.WriteString(c, arg+"\r\n")
	case "C-":
		if arg, err = strconv.Unquote(arg); err == nil {
			_, err = io.WriteString(c, arg)
		}
	case "C*":
		n, what, _ := strings.Cut(arg, " ")
		count, _ := strconv.Atoi(n)
		_, err = io.WriteString(c, strings.Repeat(what, count))
	case "S:", "S~", "S*":
		err = d.expect(c, m[2], arg)
	case "S=":
		n, _ := strconv.ParseInt(arg, 10, 64)
		_, err = io.CopyN(io.Discard, c.r, n)
	case "EOF":
		err = c.expectEOF()
	case "CLOSE":
		err = c.Close()
	case "TLS":
		err = d.startTLS(c)
	}
	return err
}

func (d *dialogue) expect(c *peer, kind, want string) error {
	var re *regexp.Regexp
	if kind != "S:" {
		var err error
		if re, err = regexp.Compile(`^(?s:` + want + `)$`); err != nil {
			return err
		}
	}
	for skipped := 0; ; skipped++ {
		got, err := c.r.ReadString('\n')
		if err != nil {
			return fmt.Errorf("got %q and %w", got, err)
		}
		got, ok := strings.CutSuffix(got, "\r\n")
		if !ok {
			return fmt.Errorf("got a line that ends with a bare LF: %q", got)
		}
		if re == nil {
			if got != want {
				return fmt.Errorf("got  %q", got)
			}
			return nil
		}
		if m := re.FindStringSubmatch(got); m != nil {
			for i, n := range re.SubexpNames() {
				if n != "" {
					d.vars[n] = m[i]
				}
			}
			return nil
		}
		if kind == "S~" {
			return fmt.Errorf("got  %q", got)
		}
		if skipped > 10000 {
			return fmt.Errorf("no line matches, last %q", got)
		}
	}
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
