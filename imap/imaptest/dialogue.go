package imaptest

import (
	"context"
	"crypto/tls"
	"net"
	"testing"

	"github.com/posta-mail/posta/internal/testscript"
)

// Play plays the part of clients in a dialogue with a Server, and fails the test
// at the first line that is not answered as it says:
//
//	# a comment; blank lines are skipped
//	C: a NOOP                  send the line with CRLF
//	C- "raw\r\nbytes"          send a Go string literal as it is
//	C* 70000 x                 send x that many times
//	S: a OK NOOP completed     the next line is exactly this
//	S~ \* (\d+) EXISTS         the next line matches all of this expression
//	S* a OK .*                 lines follow until one matches; it is the last read
//	S= 42                      skip that many octets
//	S- "raw\r\nbytes"          the next octets are exactly this Go string literal
//	EOF                        the server has closed the connection
//	CLOSE                      close the connection
//	TLS                        make the client's side of a handshake
//	SCRAM SHA-256 secret n,,n=anna,r=abc ${first}
//	                           send SCRAM's proof for the password after these
//	                           messages, the second in base64, and keep the
//	                           server's as ${signature}
//	ANY                        the S: and S~ lines up to END come in any order
//
// In a block of ANY a line is the first response left that is this text, or else
// the first whose expression matches.
//
// Literals are written as they are, and counted: a C:, S: or S~ line that ends
// with {#} is followed by the lines of the literal, and then by a line with the
// rest of the command or response.
//
//	C: a APPEND INBOX {#}      the server's "+" line is waited for; not with {#+}
//	L: Subject: hello          a line with CRLF
//	L- "no\x00end"             a Go string literal as it is
//	C:                         the rest of the command
//
// ${name} in a line stands for the variable's value, from vars or from what a
// group (?P<name>…) in an S~ or S* line has matched. A line may begin with the
// number of a connection, "2C:", "2S:"; without one it is connection 1.
// Connections are opened when they are first named; "OPEN 2" opens one and says
// nothing. They begin with the server's greeting. No line is waited for longer
// than 10 seconds.
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
	cfg := testscript.Config{Dial: s.connect, Vars: vars, Timeout: patience}
	if s.Authority != nil {
		cfg.TLS = s.client()
	}
	return cfg
}

// client is the configuration of TLS for clients.
func (s *Server) client() *tls.Config {
	cfg := s.Authority.Client()
	cfg.ServerName = hostname
	return cfg
}

// connect dials, with TLS where the server begins with it.
func (s *Server) connect(ctx context.Context) (net.Conn, error) {
	c, err := s.Dial(ctx, "tcp", s.Addr())
	if err != nil || !s.Config.ImplicitTLS || s.Authority == nil {
		return c, err
	}
	t := tls.Client(c, s.client())
	return t, t.HandshakeContext(ctx)
}
