package smtptest

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/posta-mail/posta/internal/testscript"
)

// patience is how long a test waits for what should be there at once.
const patience = 10 * time.Second

// Play plays a client's part in a dialogue with a Server, and fails the test at
// the first line that is not answered as it says:
//
//	# a comment; blank lines are skipped
//	C: EHLO client.example     send the line with CRLF
//	C- "raw\r\nbytes"          send a Go string literal as it is
//	C* 70000 x                 send x that many times
//	S: 250 2.0.0 OK            the next line is exactly this
//	S~ 250 .*queued as (\w+)   the next line matches all of this expression
//	S* 250 .*                  lines follow until one matches; it is the last read
//	SCRAM SHA-256 secret n,,n=anna,r=abc ${first}
//	                           send SCRAM's proof for the password after these
//	                           messages, the second in base64, and keep the
//	                           server's as ${signature}
//	EOF                        the server has closed the connection
//	CLOSE                      close the connection
//	TLS                        make the client's side of a handshake
//
// ${name} in a line stands for the variable's value, from vars or from what a
// group (?P<name>…) in an S~ or S* line has matched. A line may begin with the
// number of a connection, "2C:", "2S:"; without one it is connection 1.
// Connections are opened when they are first named; "OPEN 2" opens one and says
// nothing. No line is waited for longer than 10 seconds.
func Play(tb testing.TB, s *Server, script string, vars map[string]string) {
	tb.Helper()
	testscript.Run(tb, "script", script, s.dialogue(vars))
}

// PlayFiles runs each file that matches a pattern (filepath.Glob), of which
// there must be one, as a subtest, with a Server of its own from setup. name is
// the file's without folder and extension.
func PlayFiles(t *testing.T, pattern string, setup func(t *testing.T, name string) (s *Server, vars map[string]string)) {
	t.Helper()
	testscript.RunDir(t, pattern, func(t *testing.T, name string) testscript.Config {
		s, vars := setup(t, name)
		return s.dialogue(vars)
	})
}

func (s *Server) dialogue(vars map[string]string) testscript.Config {
	cfg := testscript.Config{
		Dial:    func(ctx context.Context) (net.Conn, error) { return s.Dial(ctx, "tcp", s.Addr()) },
		Vars:    vars,
		Timeout: patience,
	}
	if s.Authority != nil {
		cfg.TLS = s.Authority.Client()
		cfg.TLS.ServerName = s.name()
	}
	return cfg
}
