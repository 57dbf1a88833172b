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
	account string    // of the store, or
	remote  smtp.Path // an address elsewhere
	address string    // for Delivered-To
	detail  string    // what followed the separator
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
	x := expansion{agent: a, seen: map[string]bool{}}
	addr := address(to)
	if to.Domain == "" && strings.EqualFold(to.Local, "postmaster") && a.Postmaster != "" {
		addr = canonical(a.Postmaster) // RFC 5321 §4.5.1
	}
	if err := x.expand(ctx, addr, 0); err != nil {
		return nil, err
	}
	if len(x.found) == 0 {
		return nil, errNoSuchUser
	}
	return x.found, nil
}

type expansion struct {
	agent *Agent
	seen  map[string]bool
	found []destination
}

// expand adds the destinations of one address.
func (x *expansion) expand(ctx context.Context, addr string, depth int) error {
	key := strings.ToLower(addr)
	if x.seen[key] {
		return nil // two ways to the same place are one
	}
	x.seen[key] = true
	if depth > maxAliasDepth || len(x.seen) > maxAliasNames {
		return errAliasLoop
	}
	local, domain := split(addr)
	user, detail, hasDetail := x.cut(local)
	for _, try := range []struct{ name, detail string }{{local, ""}, {user, detail}} {
		name := try.name + "@" + domain
		if ok, err := x.lookup(ctx, name, try.detail, depth); ok || err != nil {
			return err
		}
		if !hasDetail {
			break
		}
	}
	if targets := x.agent.Aliases["@"+domain]; len(targets) > 0 {
		return x.all(ctx, targets, depth)
	}
	if depth > 0 {
		return x.elsewhere(addr)
	}
	return nil
}

// lookup tries an address as alias and as account.
func (x *expansion) lookup(ctx context.Context, addr, detail string, depth int) (bool, error) {
	if targets := x.agent.Aliases[strings.ToLower(addr)]; len(targets) > 0 {
		return true, x.all(ctx, targets, depth)
	}
	account, ok, err := x.agent.accountOf(ctx, addr)
	if err != nil {
		x.agent.log().Warn("recipient lookup failed", "address", addr, "err", err)
		return false, errLookup
	}
	if ok {
		x.found = append(x.found, destination{account: account, address: addr, detail: detail})
	}
	return ok, nil
}

func (x *expansion) all(ctx context.Context, targets []string, depth int) error {
	for _, t := range targets {
		if err := x.expand(ctx, canonical(t), depth+1); err != nil {
			return err
		}
	}
	return nil
}

// elsewhere adds an alias's target that is not ours.
func (x *expansion) elsewhere(addr string) error {
	if x.agent.Submitter == nil {
		return errNoForward
	}
	local, domain := split(addr)
	x.found = append(x.found, destination{remote: smtp.Path{Local: local, Domain: domain}, address: addr})
	return nil
}

// cut separates user and detail at the first separator; the full address has
// been tried before.
func (x *expansion) cut(local string) (user, detail string, ok bool) {
	sep := x.agent.Separator
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
	case errors.Is(err, store.ErrNotFound):
		return "", false, nil
	}
	return "", false, err
}

func address(p smtp.Path) string { return p.Local + "@" + p.Domain }

// canonical lowers the domain of an address that a configuration gave.
func canonical(addr string) string {
	local, domain := split(addr)
	return local + "@" + strings.ToLower(domain)
}

func split(addr string) (local, domain string) {
	if i := strings.LastIndexByte(addr, '@'); i >= 0 {
		return addr[:i], addr[i+1:]
	}
	return addr, ""
}
