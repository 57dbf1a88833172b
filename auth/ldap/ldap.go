// Package ldap lets in the users of an LDAP directory by a bind with their own
// name and password (RFC 4513 §5.1).
//
//	users := &ldap.Authenticator{URL: "ldaps://ldap.example.org", DN: "uid=%s,ou=people,dc=example,dc=org"}
//	srv := &imap.Server{Store: st, Auth: users, TLSConfig: tc}
//
// Where names of users are no part of their entries' names, Base and Filter say
// how to find them. What a user may do is read from attributes of the entry.
package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/posta-mail/posta/auth"
)

// DefaultTimeout bounds a login.
const DefaultTimeout = 10 * time.Second

// maxName is how long a user's name may be in octets.
const maxName = 256

// ErrConfig: URL is missing, or both DN and Base are, or passwords would go in
// the clear. Nobody is let in then.
var ErrConfig = errors.New("ldap: incomplete or unsafe configuration")

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
	// name in lower case; nobody may send; no groups.
	AccountAttribute, SendersAttribute, GroupsAttribute string
	// Timeout bounds a login. 0: DefaultTimeout.
	Timeout time.Duration
}

// Password implements auth.Authenticator. Errors are auth.ErrCredentials,
// auth.ErrForbidden for an authzid other than the user or his account, and
// auth.ErrUnavailable for whatever the directory cannot answer.
func (a *Authenticator) Password(ctx context.Context, _ auth.Request, authzid, user, password string) (*auth.Identity, error) {
	if err := a.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", auth.ErrUnavailable, err)
	}
	// A bind without a password is an anonymous one, which succeeds (RFC 4513
	// §5.1.2).
	if user == "" || password == "" || len(user) > maxName || strings.ContainsRune(user, 0) {
		return nil, auth.ErrCredentials
	}
	timeout := a.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	id, err := a.login(ctx, user, password)
	if err != nil {
		return nil, err
	}
	if authzid != "" && !strings.EqualFold(authzid, user) && !strings.EqualFold(authzid, id.Account) {
		return nil, auth.ErrForbidden
	}
	return id, nil
}

func (a *Authenticator) check() error {
	switch {
	case a.URL == "" || a.DN == "" && a.Base == "":
		return ErrConfig
	case a.DN != "" && strings.Count(a.DN, "%s") != 1 || strings.Count(a.filter(), "%s") == 0:
		return fmt.Errorf("%w: no %%s, or more than one", ErrConfig)
	}
	return nil
}

func (a *Authenticator) filter() string {
	if a.Filter == "" {
		return "(uid=%s)"
	}
	return a.Filter
}

// login finds the user's entry, binds as it and reads it.
func (a *Authenticator) login(ctx context.Context, user, password string) (*auth.Identity, error) {
	c, err := a.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", auth.ErrUnavailable, err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	dn, err := a.find(c, user)
	if err != nil {
		return nil, err
	}
	if err := c.Bind(dn, password); err != nil {
		return nil, outcome(err)
	}
	id := &auth.Identity{Account: strings.ToLower(user), Login: strings.ToLower(user)}
	if a.AccountAttribute == "" && a.SendersAttribute == "" && a.GroupsAttribute == "" {
		return id, nil
	}
	return id, a.read(c, dn, id)
}

// connect makes a secure connection.
func (a *Authenticator) connect(ctx context.Context) (*ldap.Conn, error) {
	cfg := a.TLSConfig.Clone()
	if cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	deadline, _ := ctx.Deadline()
	dialer := &net.Dialer{Deadline: deadline}
	c, err := ldap.DialURL(a.URL, ldap.DialWithTLSConfig(cfg), ldap.DialWithDialer(dialer))
	if err != nil {
		return nil, err
	}
	c.SetTimeout(time.Until(deadline))
	if strings.HasPrefix(strings.ToLower(a.URL), "ldap://") && !a.InsecurePlaintext {
		if cfg.ServerName == "" {
			cfg.ServerName = host(a.URL)
		}
		if err := c.StartTLS(cfg); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

// host is a URL's host without port.
func host(url string) string {
	_, rest, _ := strings.Cut(url, "://")
	rest, _, _ = strings.Cut(rest, "/")
	if h, _, err := net.SplitHostPort(rest); err == nil {
		return h
	}
	return strings.Trim(rest, "[]")
}

// find returns the name of the user's entry.
func (a *Authenticator) find(c *ldap.Conn, user string) (string, error) {
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
		return "", fmt.Errorf("%w: %w", auth.ErrUnavailable, err)
	case len(res.Entries) != 1:
		// The same work as for a user whom there is: a bind that fails.
		_ = c.Bind("cn=nobody,"+a.Base, "x")
		return "", auth.ErrCredentials
	}
	return res.Entries[0].DN, nil
}

// read fills in what the entry says, as the user himself may read it.
func (a *Authenticator) read(c *ldap.Conn, dn string, id *auth.Identity) error {
	var names []string
	for _, n := range []string{a.AccountAttribute, a.SendersAttribute, a.GroupsAttribute} {
		if n != "" {
			names = append(names, n)
		}
	}
	res, err := c.Search(ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, 0, false, "(objectClass=*)", names, nil))
	if err != nil || len(res.Entries) != 1 {
		return fmt.Errorf("%w: the entry cannot be read: %w", auth.ErrUnavailable, err)
	}
	e := res.Entries[0]
	if a.AccountAttribute != "" {
		if id.Account = e.GetEqualFoldAttributeValue(a.AccountAttribute); id.Account == "" {
			return fmt.Errorf("%w: no %s", auth.ErrForbidden, a.AccountAttribute)
		}
	}
	if a.SendersAttribute != "" {
		id.Senders = e.GetEqualFoldAttributeValues(a.SendersAttribute)
	}
	if a.GroupsAttribute != "" {
		id.Groups = e.GetEqualFoldAttributeValues(a.GroupsAttribute)
	}
	return nil
}

// outcome says what a bind that failed means.
func outcome(err error) error {
	switch {
	case ldap.IsErrorAnyOf(err, ldap.LDAPResultInvalidCredentials, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInvalidDNSyntax, ldap.LDAPResultInappropriateAuthentication):
		return auth.ErrCredentials
	case ldap.IsErrorAnyOf(err, ldap.LDAPResultInsufficientAccessRights, ldap.LDAPResultUnwillingToPerform):
		return auth.ErrForbidden
	}
	return fmt.Errorf("%w: %w", auth.ErrUnavailable, err)
}

var _ auth.Authenticator = (*Authenticator)(nil)
