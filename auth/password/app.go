package password

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/posta-mail/posta/auth"
)

// MaxApps is how many app passwords a user may have.
const MaxApps = 16

// maxAppName bounds the name of an app password, in octets.
const maxAppName = 128

// ErrTooMany: the user has MaxApps app passwords, or fields that are together
// too long for a line of the file.
var ErrTooMany = errors.New("password: too many app passwords, senders or groups")

// App is an app password: one that we have made, for one device or program,
// which can be taken back without touching the others. It is used in place of
// the user's own password, under the same name, by every mechanism (PLAIN, LOGIN,
// SCRAM, and the protocols' own commands).
type App struct {
	// ID names it among the user's: 6 letters and digits, given by AddApp.
	ID string
	// Name says what it is for, as the user calls it: at most 128 octets of
	// UTF-8 without controls, not empty.
	Name string
	// Scopes are the services it is good for. Nil: all.
	Scopes []auth.Service
	// Created is when it was made.
	Created time.Time
	// LastUse is when a login with it last succeeded, and LastAddr the client's
	// address; zero for never and invalid for unknown. Logins of the last
	// WriteUses may be missing after a crash or in other processes, and those
	// for which the user's line in the file has no room.
	LastUse  time.Time
	LastAddr netip.Addr
}

// app is an App as it is kept. It is not changed once it is in an entry.
type app struct {
	App
	hash []byte // see appHash
	keys keys
}

func (a *app) allows(s auth.Service) bool {
	return len(a.Scopes) == 0 || slices.Contains(a.Scopes, s)
}

// alphabet is base32's in lower case (RFC 4648 §6): no two of its characters are
// taken for each other when read from a screen.
const alphabet = "abcdefghijklmnopqrstuvwxyz234567"

const (
	idSize    = 6
	appGroups = 7 // of 4: 28 characters of 5 bits, 140 bits
)

// randomText is groups of four random characters with "-" between them.
func randomText(groups int) string {
	b := randomBytes(4 * groups)
	var s strings.Builder
	for i, c := range b {
		if i > 0 && i%4 == 0 {
			s.WriteByte('-')
		}
		s.WriteByte(alphabet[c&31])
	}
	return s.String()
}

// compact gives the characters of a text that randomText has made and somebody
// has typed: hyphens and spaces do not count, nor case. False: it is none of so
// many groups.
func compact(typed string, groups int) (string, bool) {
	if len(typed) > 8*groups {
		return "", false
	}
	s := strings.ToLower(strings.NewReplacer("-", "", " ", "").Replace(typed))
	return s, len(s) == 4*groups && strings.Trim(s, alphabet) == ""
}

// keyed is what is kept of a random text: HMAC-SHA-256 under a key that is made
// of the file's secret, and bound to what it is for and to the user. It is fast,
// and that is right here, where it is not for what people think up: nobody can
// try 2^100 texts, however fast each one is. One hash finds the right one
// among all of a user's.
func keyed(secret []byte, what, user, text string) []byte {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte("posta " + what + "\x00" + user + "\x00" + text))
	return m.Sum(nil)
}

// appOf finds the app password that was typed, nil if it is none of the
// user's. It costs everybody the same.
func (w *who) appOf(typed string) *app {
	text, ok := compact(typed, appGroups)
	if !ok {
		return nil
	}
	name := w.name
	if w.entry != nil {
		name = w.Name
	}
	sum := keyed(w.secret, "app", name, text)
	if w.entry == nil {
		return nil
	}
	// What is compared is random to whoever does not have the secret: where two
	// begin to differ tells nothing.
	for _, a := range w.apps {
		if hmac.Equal(a.hash, sum) {
			return a
		}
	}
	return nil
}

// AddApp makes an app password for a user, of whose fields Name and Scopes
// count. It returns it with its secret, which is shown to the user once and is
// kept nowhere: 140 random bits, written as seven groups of four letters
// and digits. Whoever types it may leave out the hyphens or use capitals, where
// the client does not use SCRAM. Errors wrap ErrName, ErrUnknown or ErrTooMany, or
// are those of the file. It takes as long as deriving the SCRAM keys does,
// some 10 ms, and the file's fsync.
func (u *Users) AddApp(user string, a App) (made App, secret string, err error) {
	u.setup()
	if a.Name == "" || len(a.Name) > maxAppName || !utf8.ValidString(a.Name) || strings.ContainsFunc(a.Name, unusable) {
		return App{}, "", fmt.Errorf("%w: name of an app password", ErrName)
	}
	for _, s := range a.Scopes {
		if !slices.Contains(services, s) {
			return App{}, "", fmt.Errorf("%w: service %.16q", ErrName, s)
		}
	}
	w, err := u.known(user)
	if err != nil {
		return App{}, "", err
	}
	secret = randomText(appGroups)
	text, _ := compact(secret, appGroups)
	one := &app{App: App{Name: a.Name, Scopes: slices.Clone(a.Scopes), Created: time.Now().UTC().Truncate(time.Second)}}
	if one.keys, err = u.derive(secret, w.name, w.secret, w.allShown()); err != nil {
		return App{}, "", err
	}
	err = u.change(user, func(d *document, e *entry) error {
		if len(e.apps) >= MaxApps {
			return fmt.Errorf("%w: %q has %d", ErrTooMany, e.Name, len(e.apps))
		}
		for one.ID == "" || slices.ContainsFunc(e.apps, func(other *app) bool { return other.ID == one.ID }) {
			one.ID = strings.ReplaceAll(randomText(2), "-", "")[:idSize]
		}
		one.hash = keyed(u.secretOf(d), "app", e.Name, text)
		e.apps = append(slices.Clip(e.apps), one)
		return nil
	})
	if err != nil {
		return App{}, "", err
	}
	return one.copied(), secret, nil
}

// services are those that an app password can be limited to.
var services = []auth.Service{auth.IMAP, auth.POP3, auth.SMTP, auth.ManageSieve}

// Apps lists a user's app passwords, the oldest first. Errors wrap ErrName or
// ErrUnknown, or are those of the file.
func (u *Users) Apps(user string) ([]App, error) {
	u.setup()
	w, err := u.known(user)
	if err != nil {
		return nil, err
	}
	list := make([]App, 0, len(w.apps))
	for _, a := range w.apps {
		one := a.copied()
		if use, ok := u.later.use(w.Name, a.ID); ok && !use.at.Before(one.LastUse) {
			one.LastUse, one.LastAddr = use.at, use.addr
		}
		list = append(list, one)
	}
	slices.SortStableFunc(list, func(a, b App) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID)) })
	return list, nil
}

// RevokeApp takes an app password back: no login with it succeeds any more.
// Connections that are logged in stay so. Errors wrap ErrName or ErrUnknown, or
// are those of the file.
func (u *Users) RevokeApp(user, id string) error {
	u.setup()
	return u.change(user, func(_ *document, e *entry) error {
		before := len(e.apps)
		e.apps = slices.DeleteFunc(slices.Clone(e.apps), func(a *app) bool { return a.ID == id })
		if len(e.apps) == before {
			return fmt.Errorf("%w: app password %.16q", ErrUnknown, id)
		}
		return nil
	})
}

// copied is for callers, who must not change the list.
func (a *app) copied() App {
	out := a.App
	out.Scopes = slices.Clone(a.Scopes)
	return out
}

// encodeApp and parseApp have the fields ID, name, scopes, creation, last use,
// address, hash, SCRAM keys, separated by semicolons.
func encodeApp(a *app) string {
	when := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339)
	}
	scopes := make([]string, len(a.Scopes))
	for i, s := range a.Scopes {
		scopes[i] = string(s)
	}
	addr := ""
	if a.LastAddr.IsValid() {
		addr = a.LastAddr.WithZone("").String()
	}
	return strings.Join([]string{
		a.ID, escape(a.Name), strings.Join(scopes, "+"), when(a.Created), when(a.LastUse), addr,
		base64.StdEncoding.EncodeToString(a.hash), encodeKeys(a.keys, "|"),
	}, ";")
}

func parseApp(s string) (*app, error) {
	f := strings.Split(s, ";")
	if len(f) != 8 {
		return nil, errors.New("an app password has 8 fields")
	}
	a := &app{App: App{ID: f[0]}}
	var err error
	if len(a.ID) != idSize || strings.Trim(a.ID, alphabet) != "" {
		return nil, fmt.Errorf("ID %.16q", a.ID)
	}
	if a.Name, err = unescape(f[1]); err != nil || a.Name == "" || len(a.Name) > maxAppName || strings.ContainsFunc(a.Name, unusable) {
		return nil, fmt.Errorf("name of %s", a.ID)
	}
	if f[2] != "" {
		for scope := range strings.SplitSeq(f[2], "+") {
			if !slices.Contains(services, auth.Service(scope)) {
				return nil, fmt.Errorf("service %.16q", scope)
			}
			a.Scopes = append(a.Scopes, auth.Service(scope))
		}
	}
	for _, t := range []struct {
		to   *time.Time
		from string
	}{{&a.Created, f[3]}, {&a.LastUse, f[4]}} {
		if t.from == "" {
			continue
		}
		if *t.to, err = time.Parse(time.RFC3339, t.from); err != nil {
			return nil, fmt.Errorf("time %.32q", t.from)
		}
		*t.to = t.to.UTC()
	}
	if f[5] != "" {
		if a.LastAddr, err = netip.ParseAddr(f[5]); err != nil || a.LastAddr.Zone() != "" {
			return nil, fmt.Errorf("address %.64q", f[5])
		}
	}
	if a.hash, err = base64.StdEncoding.Strict().DecodeString(f[6]); err != nil || len(a.hash) != sha256.Size {
		return nil, fmt.Errorf("hash of %s", a.ID)
	}
	if f[7] != "" {
		a.keys, err = parseKeys(f[7], "|")
	}
	return a, err
}
