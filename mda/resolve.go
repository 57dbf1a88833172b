package mda

import (
	"context"
	"errors"
	"strings"

	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store"
)

// Limits of alias expansion.
const (
	maxAliasDepth = 10
	maxAliasNames = 1000
)

// destination is where a recipient's copy goes.
type destination struct {
	account string    // of the store; empty: elsewhere
	to      smtp.Path // the address looked up, with its detail
	detail  string    // what followed the separator, if it was left out for the lookup
}

// Replies of recipient lookup.
var (
	errNoSuchUser = smtp.Errorf(550, smtp.EnhancedCode{5, 1, 1}, "No such user here")
	errLookup     = smtp.Errorf(451, smtp.EnhancedCode{4, 3, 0}, "Recipient lookup failed, try again later")
	errAliasLoop  = smtp.Errorf(550, smtp.EnhancedCode{5, 4, 6}, "Alias loop or too many recipients")
	errNoForward  = smtp.Errorf(550, smtp.EnhancedCode{5, 7, 1}, "Forwarding is not available")
)

// Check answers RCPT: nil if mail for the address can be filed here, else an
// *smtp.Error: 550 5.1.1 for nobody, 451 4.3.0 if the lookup failed.
func (a *Agent) Check(ctx context.Context, to smtp.Path) error {
	_, err := a.resolve(ctx, to)
	return err
}

// resolve finds all destinations of a recipient.
func (a *Agent) resolve(ctx context.Context, to smtp.Path) ([]destination, error) {
	if a.Store == nil {
		return nil, errNoSuchUser
	}
	x := expansion{agent: a, state: map[string]expanded{}}
	err := x.recipient(ctx, to)
	switch {
	case err != nil:
		return nil, err
	case len(x.found) > 0:
		return x.found, nil
	case x.loop:
		return nil, errAliasLoop
	}
	return nil, errNoSuchUser
}

// expansion follows one recipient through aliases.
type expansion struct {
	agent *Agent
	state map[string]expanded // of each address met
	found []destination
	loop  bool // an alias leads to itself and to no account of its name
}

type expanded uint8

const (
	expanding expanded = iota + 1
	expandedDone
)

// recipient expands the address that a client gave. Postmaster is an address
// everywhere (RFC 5321 §4.5.1).
func (x *expansion) recipient(ctx context.Context, to smtp.Path) error {
	if to.Domain != "" {
		if err := x.expand(ctx, to, 0); err != nil || len(x.found) > 0 || x.loop {
			return err
		}
	}
	if x.agent.Postmaster == "" || !to.IsPostmaster() {
		return nil
	}
	postmaster, err := x.configured(x.agent.Postmaster)
	if err != nil || x.state[key(postmaster)] != 0 {
		return err
	}
	return x.expand(ctx, postmaster, 0)
}

// configured parses an address of the Agent's fields.
func (x *expansion) configured(addr string) (smtp.Path, error) {
	p, err := smtp.ParseAddress(addr)
	if err != nil {
		x.agent.log().Error("malformed address in the configuration", "address", addr, "err", err)
		return p, errLookup
	}
	return p, nil
}

// expand adds the destinations of one address.
func (x *expansion) expand(ctx context.Context, p smtp.Path, depth int) error {
	switch x.state[key(p)] {
	case expanding: // an alias that names itself means the account of that name
		found, err := x.account(ctx, p)
		x.loop = x.loop || !found
		return err
	case expandedDone:
		return nil // two ways to the same place are one
	}
	if depth > maxAliasDepth || len(x.state) >= maxAliasNames {
		return errAliasLoop
	}
	x.state[key(p)] = expanding
	defer func() { x.state[key(p)] = expandedDone }()

	for _, name := range x.names(p) {
		if targets := x.agent.Aliases[key(name)]; len(targets) > 0 {
			return x.all(ctx, targets, depth)
		}
		if ok, err := x.try(ctx, p, name); ok || err != nil {
			return err
		}
	}
	if targets := x.agent.Aliases["@"+p.Domain]; len(targets) > 0 {
		return x.all(ctx, targets, depth)
	}
	if depth > 0 {
		return x.elsewhere(p)
	}
	return nil
}

// names are what an address is looked up as, in order: itself, and without
// its detail.
func (x *expansion) names(p smtp.Path) []smtp.Path {
	if user, _, ok := x.agent.cut(p.Local); ok {
		return []smtp.Path{p, {Local: user, Domain: p.Domain}}
	}
	return []smtp.Path{p}
}

// account adds the account of an address, whatever aliases there are.
func (x *expansion) account(ctx context.Context, p smtp.Path) (bool, error) {
	for _, name := range x.names(p) {
		if ok, err := x.try(ctx, p, name); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// try adds the account that name has, for mail to p.
func (x *expansion) try(ctx context.Context, p, name smtp.Path) (bool, error) {
	account, ok, err := x.agent.accountOf(ctx, address(name))
	if err != nil {
		x.agent.log().Warn("recipient lookup failed", "address", address(name), "err", err)
		return false, errLookup
	}
	if !ok || account == "" {
		return false, nil
	}
	d := destination{account: account, to: p}
	if name != p {
		_, d.detail, _ = x.agent.cut(p.Local)
	}
	x.found = append(x.found, d)
	return true, nil
}

// all expands what an alias stands for.
func (x *expansion) all(ctx context.Context, targets []string, depth int) error {
	for _, t := range targets {
		p, err := x.configured(t)
		if err == nil {
			err = x.expand(ctx, p, depth+1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// elsewhere adds an alias's target that is not ours.
func (x *expansion) elsewhere(p smtp.Path) error {
	if x.agent.Submitter == nil {
		return errNoForward
	}
	x.found = append(x.found, destination{to: p})
	return nil
}

// cut separates user and detail at the first separator (RFC 5233 §4).
func (a *Agent) cut(local string) (user, detail string, ok bool) {
	sep := a.Separator
	switch sep {
	case "":
		sep = "+"
	case "-":
		return local, "", false
	}
	user, detail, ok = strings.Cut(local, sep)
	return user, detail, ok && user != ""
}

func (a *Agent) accountOf(ctx context.Context, addr string) (string, bool, error) {
	if a.Directory != nil {
		return a.Directory.AccountOf(ctx, addr)
	}
	name := strings.ToLower(addr)
	_, err := a.Store.Account(ctx, name, name)
	switch {
	case err == nil:
		return name, true, nil
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrInvalidName):
		return "", false, nil
	}
	return "", false, err
}

func address(p smtp.Path) string { return p.Local + "@" + p.Domain }

// key is what addresses are compared by: without case, as aliases are written.
func key(p smtp.Path) string { return strings.ToLower(address(p)) }
