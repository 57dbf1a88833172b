package imap

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// The one mechanism of authorizing URLs (RFC 4467 §2.4): the token is "01" and
// an HMAC of the URL up to the access identifier, with a key of the mailbox that
// its owner can reset.
const (
	urlMechanism = "INTERNAL"
	urlToken     = "01"
	urlKey       = "posta/urlauth" // the annotation that has the key, in hexadecimal
	urlKeySize   = sha256.Size
)

// urlAuth reports whether mailboxes can have keys.
func urlAuth(s *session) bool {
	_, ok := s.acc.(store.Annotations)
	return ok
}

// key is a mailbox's access key, or nil if it has none.
func urlAccessKey(ctx context.Context, acc store.Account, box store.MailboxID) ([]byte, error) {
	notes, ok := acc.(store.Annotations)
	if !ok {
		return nil, nil
	}
	found, err := notes.Annotations(ctx, box, urlKey)
	if err != nil {
		return nil, err
	}
	for _, a := range found {
		if a.Key == urlKey {
			return hex.DecodeString(string(a.Value))
		}
	}
	return nil, nil
}

// newURLKey is urlAccessKey, made if there is none.
func (s *session) newURLKey(box store.MailboxID) ([]byte, error) {
	// Two sessions must not both make one.
	s.srv.urlKeys.Lock()
	defer s.srv.urlKeys.Unlock()
	key, err := urlAccessKey(s.ctx, s.acc, box)
	if err != nil || key != nil {
		return key, err
	}
	key = make([]byte, urlKeySize)
	rand.Read(key)
	_, err = s.acc.(store.Annotations).Annotate(s.ctx, box, store.Annotation{Key: urlKey, Value: hex.AppendEncode(nil, key)})
	return key, err
}

// signURL is the token of a URL.
func signURL(key []byte, rump string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(rump))
	return urlToken + hex.EncodeToString(mac.Sum(nil))
}

// resetKey is RESETKEY (RFC 4467 §7): URLs made so far are worth nothing from
// now on.
func (s *session) resetKey(p *wire.Parser) reply {
	c := p.ResetKey()
	if p.End() != nil {
		return syntax(p)
	}
	if len(c.Mechanisms) > 0 && !slices.Contains(c.Mechanisms, urlMechanism) {
		return no("URLMECH "+urlMechanism, "No such mechanism")
	}
	infos, err := s.keyed(&c)
	if err != nil {
		return s.failed(err)
	}
	for _, info := range infos {
		_, err := s.acc.(store.Annotations).Annotate(s.ctx, info.ID, store.Annotation{Key: urlKey})
		if err != nil && (c.HasMailbox || !errors.Is(err, store.ErrNotFound)) {
			return s.failed(err)
		}
	}
	return okCode("URLMECH "+urlMechanism, "RESETKEY completed")
}

// keyed are the mailboxes that RESETKEY means: the user's own.
func (s *session) keyed(c *wire.ResetKey) ([]store.MailboxInfo, error) {
	if !c.HasMailbox {
		return s.acc.Mailboxes(s.ctx)
	}
	box, err := s.open(c.Mailbox)
	if err != nil {
		return nil, err
	}
	if box.acc.Name() != s.acc.Name() {
		return nil, store.ErrReadOnly
	}
	return []store.MailboxInfo{box.info}, nil
}

// genURLAuth is GENURLAUTH (RFC 4467 §7).
func (s *session) genURLAuth(p *wire.Parser) reply {
	urls := p.GenURLAuth()
	if p.End() != nil {
		return syntax(p)
	}
	made := make([]string, 0, len(urls))
	for _, g := range urls {
		u, err := wire.ParseURL(g.URL)
		if err != nil || !u.Absolute || u.Access == "" || u.Mechanism != "" {
			return bad("URL cannot be authorized")
		}
		if r := s.mayAuthorize(&u, g.Mechanism); r != (reply{}) {
			return r
		}
		mb, err := s.ownMailbox(s.acc, &u)
		if err != nil {
			return s.failed(err)
		}
		key, err := s.newURLKey(mb.ID())
		if err != nil {
			return s.failed(err)
		}
		made = append(made, g.URL+":"+urlMechanism+":"+signURL(key, g.URL))
	}
	s.out.put("* GENURLAUTH")
	for _, u := range made {
		s.out.put(" ")
		s.out.b = wire.AppendString(s.out.b, u, false)
		s.out.spill()
	}
	s.out.put("\r\n")
	return ok("GENURLAUTH completed")
}

// mayAuthorize refuses URLs that are not the user's to authorize.
func (s *session) mayAuthorize(u *wire.URL, mechanism string) reply {
	switch kind, _ := u.Identifier(); {
	case mechanism != urlMechanism:
		return no("URLMECH "+urlMechanism, "No such mechanism")
	case !slices.Contains([]string{"user+", "submit+", "authuser", "anonymous"}, kind):
		return bad("Unknown access identifier")
	case u.User != s.acc.Name(), !s.isUs(u.Host):
		return no("NOPERM", "URL is not of your mailboxes")
	case u.Expires && !time.Now().Before(u.Expire):
		return no("EXPIRED", "URL has expired")
	}
	return reply{}
}

// ownMailbox opens the mailbox of a URL in the account that the URL names.
func (s *session) ownMailbox(acc store.Account, u *wire.URL) (store.Mailbox, error) {
	name, err := store.CanonicalName(u.Mailbox)
	if err != nil {
		return nil, err
	}
	return acc.Mailbox(s.ctx, name)
}

// urlFetch is URLFETCH (RFC 4467 §7). Whatever is wrong with a URL, the answer
// is the same: NIL.
func (s *session) urlFetch(p *wire.Parser) reply {
	urls := p.URLFetch()
	if p.End() != nil {
		return syntax(p)
	}
	for _, url := range urls {
		s.out.put("* URLFETCH ")
		s.out.b = append(wire.AppendString(s.out.b, url, false), ' ')
		r, err := s.authorized(url)
		if err != nil {
			s.out.put("NIL\r\n")
			continue
		}
		s.out.b = wire.AppendLiteralHeader(s.out.b, uint64(r.n), false)
		s.out.stream(r.r, r.off, r.n, false)
		r.close()
		s.out.put("\r\n")
		s.out.spill()
	}
	return ok("URLFETCH completed")
}

// errURLAuth: a URL that gives no access.
var errURLAuth = errors.New("imap: URL gives no access")

// authorized opens what an authorized URL names, if it is valid and for this
// user (RFC 4467 §6).
func (s *session) authorized(url string) (resource, error) {
	u, err := wire.ParseURL(url)
	if err != nil {
		return resource{}, err
	}
	if !u.Absolute || u.User == "" || u.Mechanism != urlMechanism || !s.isUs(u.Host) || !s.mayAccess(&u) ||
		u.Expires && !time.Now().Before(u.Expire) {
		return resource{}, errURLAuth
	}
	acc, err := s.srv.Store.Account(s.ctx, u.User, u.User)
	if err != nil {
		return resource{}, err
	}
	mb, err := s.ownMailbox(acc, &u)
	if err != nil {
		return resource{}, err
	}
	key, err := urlAccessKey(s.ctx, acc, mb.ID())
	if err != nil {
		return resource{}, err
	}
	if len(key) != urlKeySize || !hmac.Equal([]byte(signURL(key, u.Rump)), []byte(strings.ToLower(u.Token))) {
		return resource{}, errURLAuth
	}
	snap, err := mb.Snapshot(s.ctx)
	if err != nil {
		return resource{}, err
	}
	return s.resource(s.ctx, mb, snap, &u)
}

// mayAccess reports whether the access identifier of a URL means this user (RFC
// 4467 §2.3).
func (s *session) mayAccess(u *wire.URL) bool {
	switch kind, name := u.Identifier(); kind {
	case "user+":
		return name == s.id.Account || name == s.id.Login
	case "submit+": // only who submits mail for others
		return slices.Contains(s.srv.URLSubmitters, s.id.Account)
	case "authuser", "anonymous":
		return true
	}
	return false
}
