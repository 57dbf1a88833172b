package imap

import (
	"time"

	"github.com/posta-mail/posta/auth"
)

// Trace has optional callbacks that observe a Server. They are called by the
// connection's goroutine, or for it by another, one at a time, and should return
// soon. Credentials and messages are
// never in them.
type Trace struct {
	// Connected is called before the greeting, Disconnected at the end.
	Connected, Disconnected func(peer auth.Peer)
	// Login is called after every attempt; id is nil when it failed.
	Login func(peer auth.Peer, id *auth.Identity, err error)
	// Command is called when a command has been answered.
	Command func(peer auth.Peer, c CommandInfo)
}

// CommandInfo describes a command that has been answered.
type CommandInfo struct {
	Name    string // in upper case, such as "UID FETCH"; empty if there is no such command
	Account string // empty before login
	Status  string // OK, NO or BAD
	Took    time.Duration
}

func (s *session) traceCommand(name, status string, began time.Time) {
	if t := s.srv.Trace; t != nil && t.Command != nil {
		account := ""
		if s.acc != nil {
			account = s.acc.Name()
		}
		t.Command(s.peer(), CommandInfo{Name: name, Account: account, Status: status, Took: time.Since(began)})
	}
}
