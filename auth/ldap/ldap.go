// Package ldap lets in the users of an LDAP directory by a bind with their own
// name and password (RFC 4513 §5.1).
//
//	users := &ldap.Authenticator{URL: "ldaps://ldap.example.org", DN: "uid=%s,ou=people,dc=example,dc=org"}
//	srv := &imap.Server{Store: st, Auth: users, TLSConfig: tc}
//
// Where names of users are no part of their entries' names, Base and Filter say
// how to find them. What a user may do is read from attributes of the entry.
//
// Directories take names with other spaces, invisible characters and letters of
// another case for the same (RFC 4518). Here one user has one name, account and
// count of failures however it is written, and names with invisible characters are
// nobody's. Where a directory takes still more for the same (ß for ss, a letter with
// an accent for one without), AccountAttribute gives the one account.
//
// # What strangers learn
//
// Whether there is such a user tells no answer: what a directory says of an entry
// before it knows the password, as that it is locked, is a wrong password to the
// client. Nor does the time tell: a directory answers at once for an entry that it
// does not have and hashes a password for one that it has, so that refusals are
// answered at certain times (FailAfter). Referrals are not followed.
package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/posta-mail/posta/auth"
)

// Defaults of an Authenticator.
const (
	// DefaultTimeout bounds a login.
	DefaultTimeout = 10 * time.Second
	// DefaultFailAfter is that of Authenticator.FailAfter.
	DefaultFailAfter = 500 * time.Millisecond
	// DefaultMaxConns is that of Authenticator.MaxConns.
	DefaultMaxConns = 64
)

// Limits: of a name, of all that a directory may say in one login, and of what it
// may say before TLS, which is the answer to StartTLS; in octets.
const (
	maxName   = 256
	maxAnswer = 256 << 10
	maxPlain  = 4 << 10
)

// Errors beside those of auth; a login that fails with them is
// auth.ErrUnavailable.
var (
	// ErrConfig: URL is missing or none, or both DN and Base are missing, or there
	// is no place for the user's name in them. Nobody is let in then.
	ErrConfig = errors.New("ldap: incomplete or unsafe configuration")
	// ErrTooLong: the directory has sent more than 256 KiB for one login, or more
	// than 4 KiB in answer to StartTLS.
	ErrTooLong = errors.New("ldap: answer is too long")
	// ErrBusy: all of MaxConns were in use as long as the login could wait.
	ErrBusy = errors.New("ldap: too many logins at one time")
)

// Authenticator is an auth.Authenticator over a directory. URL must be set, and
// either DN, or Base. Its fields must not change once it is in use; it is then
// safe for concurrent use. Each login takes a connection of its own and closes
// it: a bind is for ever on a connection, and one of somebody else's must not
// be mistaken for one's own.
type Authenticator struct {
	// URL is the server: ldaps://host, ldap://host or ldapi:///path. By ldap the
	// connection is secured by StartTLS before anything is said (RFC 4511
	// §4.14).
	URL string
	// TLSConfig is for the connection; nil: the system's authorities.
	TLSConfig *tls.Config
	// Dial makes connections; nil: net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// InsecurePlaintext lets passwords go over ldap without TLS: for tests.
	InsecurePlaintext bool
	// DN is the name of a user's entry, with %s for the user: its special
	// characters are escaped (RFC 4514 §2.4). Empty: Base is searched.
	DN string
	// Base is below which entries are searched, and Filter what they match, with
	// %s for the user, escaped (RFC 4515 §3). Empty Filter: "(uid=%s)". With DN
	// as well, Base is not used.
	Base, Filter string
	// SearchDN and SearchPassword are the login of the search; empty: anonymous.
	SearchDN, SearchPassword string
	// AccountAttribute has the account, SendersAttribute the addresses a user may
	// send from, GroupsAttribute the groups. Empty: the account is the user's
	// name in lower case; nobody may send; no groups. Where Filter finds a user by
	// several names, without AccountAttribute each is an account. Users must not
	// be able to change these attributes, nor those that Filter compares: who can
	// could be found by another's name. An entry without AccountAttribute or
	// with several values of it is auth.ErrForbidden.
	AccountAttribute, SendersAttribute, GroupsAttribute string
	// Timeout bounds a login. 0 or negative: DefaultTimeout.
	Timeout time.Duration
	// FailAfter is the time after the beginning of a login at which a refusal is
	// answered; one that is later waits for twice that time, and so on. It should
	// be longer than the directory takes to check a password. 0: DefaultFailAfter;
	// negative: refusals come at once, and their time tells who exists.
	FailAfter time.Duration
	// MaxConns bounds the connections at one time, so that strangers do not flood
	// the directory; further logins wait, within Timeout. 0 or negative:
	// DefaultMaxConns.
	MaxConns int
	// Throttle is the governor shared by all servers over these users. Nil: one
	// with defaults.
	Throttle *auth.Governor

	governor auth.Governor
	once     sync.Once
	places   chan struct{}
}

// Password implements auth.Authenticator. Errors are auth.ErrCredentials,
// auth.ErrForbidden for an authzid other than the user or his account, and
// auth.ErrUnavailable for whatever the directory cannot answer.
func (a *Authenticator) Password(ctx context.Context, _ auth.Request, authzid, user, password string) (*auth.Identity, error) {
	began := time.Now()
	server, err := a.check()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", auth.ErrUnavailable, err)
	}
	name, ok := prepare(user)
	// A bind without a password is an anonymous one, which succeeds (RFC 4513
	// §5.1.2), and some servers take a NUL for the end of one.
	if !ok || password == "" || strings.ContainsRune(password, 0) {
		return nil, auth.ErrCredentials
	}
	id, err := a.login(ctx, server, name, password)
	if err != nil {
		if errors.Is(err, auth.ErrCredentials) {
			a.wait(ctx, began)
		}
		return nil, err
	}
	if authzid != "" && a.CanonicalName(authzid) != id.Login && !strings.EqualFold(authzid, id.Account) {
		return nil, auth.ErrForbidden
	}
	return id, nil
}

// CanonicalName implements auth.Namer: the name as directories compare names. One
// that no user can have is returned as it is.
func (a *Authenticator) CanonicalName(user string) string {
	if name, ok := prepare(user); ok {
		return strings.ToLower(name)
	}
	return user
}

// Governor implements auth.Governed.
func (a *Authenticator) Governor() *auth.Governor {
	if a.Throttle != nil {
		return a.Throttle
	}
	return &a.governor
}

// wait ends when a refusal may be answered, or with ctx.
func (a *Authenticator) wait(ctx context.Context, began time.Time) {
	after := a.FailAfter
	if after == 0 {
		after = DefaultFailAfter
	}
	if after < 0 {
		return
	}
	t := time.NewTimer(after - time.Since(began)%after)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// check looks at the configuration.
func (a *Authenticator) check() (server *url.URL, err error) {
	switch {
	case a.URL == "" || a.DN == "" && a.Base == "":
		return nil, ErrConfig
	case a.DN != "" && strings.Count(a.DN, "%s") != 1 || strings.Count(a.filter(), "%s") == 0:
		return nil, fmt.Errorf("%w: no %%s, or more than one", ErrConfig)
	}
	server, err = url.Parse(a.URL)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return server, nil
}

func (a *Authenticator) filter() string {
	if a.Filter == "" {
		return "(uid=%s)"
	}
	return a.Filter
}

// login finds the user's entry, binds as it and reads it.
func (a *Authenticator) login(ctx context.Context, server *url.URL, user, password string) (*auth.Identity, error) {
	timeout := a.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	a.once.Do(func() {
		most := a.MaxConns
		if most <= 0 {
			most = DefaultMaxConns
		}
		a.places = make(chan struct{}, most)
	})
	select {
	case a.places <- struct{}{}:
		defer func() { <-a.places }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", auth.ErrUnavailable, ErrBusy)
	}
	c, err := a.connect(ctx, server)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", auth.ErrUnavailable, err)
	}
	defer c.hangUp()
	dn, err := a.find(c, user)
	if err != nil {
		return nil, err
	}
	if err := c.Bind(dn, password); err != nil {
		return nil, outcome(c.failed(err))
	}
	login := a.CanonicalName(user)
	id := &auth.Identity{Account: login, Login: login}
	if a.AccountAttribute == "" && a.SendersAttribute == "" && a.GroupsAttribute == "" {
		return id, nil
	}
	if err := a.read(c, dn, id); err != nil {
		return nil, err
	}
	return id, nil
}

// find returns the name of the user's entry.
func (a *Authenticator) find(c *conn, user string) (string, error) {
	if a.DN != "" {
		return strings.Replace(a.DN, "%s", ldap.EscapeDN(user), 1), nil
	}
	if a.SearchDN != "" {
		if err := c.Bind(a.SearchDN, a.SearchPassword); err != nil {
			return "", fmt.Errorf("%w: %w", auth.ErrUnavailable, err)
		}
	}
	filter := strings.ReplaceAll(a.filter(), "%s", ldap.EscapeFilter(user))
	res, err := c.Search(ldap.NewSearchRequest(a.Base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 2, 0, false, filter, []string{"1.1"}, nil))
	switch {
	case ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded):
		return "", auth.ErrCredentials // two are nobody
	case err != nil:
		return "", fmt.Errorf("%w: %w", auth.ErrUnavailable, c.failed(err))
	// By a bind without a name anybody would be somebody (RFC 4513 §5.1.1).
	case len(res.Entries) != 1 || res.Entries[0].DN == "":
		// The same work as for a user whom there is: a bind that fails.
		_ = c.Bind("cn=nobody,"+a.Base, "x")
		return "", auth.ErrCredentials
	}
	return res.Entries[0].DN, nil
}

// read fills in what the entry says, as the user himself may read it.
func (a *Authenticator) read(c *conn, dn string, id *auth.Identity) error {
	var names []string
	for _, n := range []string{a.AccountAttribute, a.SendersAttribute, a.GroupsAttribute} {
		if n != "" {
			names = append(names, n)
		}
	}
	res, err := c.Search(ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, 0, false, "(objectClass=*)", names, nil))
	if err != nil {
		return fmt.Errorf("%w: the entry cannot be read: %w", auth.ErrUnavailable, c.failed(err))
	}
	if len(res.Entries) != 1 {
		return fmt.Errorf("%w: the entry cannot be read", auth.ErrUnavailable)
	}
	e := res.Entries[0]
	if a.AccountAttribute != "" {
		// Values have no order (RFC 4511 §4.1.7): the first of two is one today and the
		// other tomorrow.
		accounts := e.GetEqualFoldAttributeValues(a.AccountAttribute)
		if len(accounts) != 1 || accounts[0] == "" {
			return fmt.Errorf("%w: %d values of %s", auth.ErrForbidden, len(accounts), a.AccountAttribute)
		}
		id.Account = accounts[0]
	}
	if a.SendersAttribute != "" {
		id.Senders = e.GetEqualFoldAttributeValues(a.SendersAttribute)
	}
	if a.GroupsAttribute != "" {
		id.Groups = e.GetEqualFoldAttributeValues(a.GroupsAttribute)
	}
	return nil
}

// outcome says what a bind that failed means (RFC 4511 appendix A). What is the
// entry's and not the server's, as that it is locked or has no password, is no more
// than a wrong password: the directory says it before it has seen the right one.
func outcome(err error) error {
	var e *ldap.Error
	if !errors.As(err, &e) || e.ResultCode >= ldap.ErrorNetwork || ldap.IsErrorAnyOf(err,
		ldap.LDAPResultOperationsError, ldap.LDAPResultProtocolError, ldap.LDAPResultTimeLimitExceeded, ldap.LDAPResultAdminLimitExceeded,
		ldap.LDAPResultAuthMethodNotSupported, ldap.LDAPResultStrongAuthRequired, ldap.LDAPResultConfidentialityRequired,
		ldap.LDAPResultReferral, ldap.LDAPResultBusy, ldap.LDAPResultUnavailable, ldap.LDAPResultLoopDetect, ldap.LDAPResultOther) {
		return fmt.Errorf("%w: %w", auth.ErrUnavailable, err)
	}
	return fmt.Errorf("%w: %w", auth.ErrCredentials, err)
}

var (
	_ auth.Authenticator = (*Authenticator)(nil)
	_ auth.Namer         = (*Authenticator)(nil)
	_ auth.Governed      = (*Authenticator)(nil)
)
