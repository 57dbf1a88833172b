package password

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/posta-mail/posta/auth/sasl"
)

// User is an entry of the list, without its password.
type User struct {
	// Name is what the user logs in with, in canonical form where it is
	// returned.
	Name string
	// Account is the key of the account in the store. Empty: the canonical
	// Name.
	Account string
	// Senders are the addresses the user may send as, "@domain" for a whole
	// domain; local parts are compared exactly. Nil: Name, with DefaultDomain
	// if it has none. Empty but not nil: none.
	Senders []string
	// Groups are the groups the user belongs to.
	Groups []string
}

// Add adds a user with the defaults of [User]. Errors wrap ErrName,
// ErrPassword or ErrExists, or are those of the file. It takes as long as
// hashing the password does, some 40 ms, and the file's fsync.
func (u *Users) Add(name, password string) error {
	return u.set(User{Name: name}, password, true)
}

// Set adds a user or replaces the one of that name. An empty password keeps
// the present one; then the user must exist (else ErrUnknown). Other errors
// are those of Add.
func (u *Users) Set(user User, password string) error {
	return u.set(user, password, false)
}

func (u *Users) set(user User, password string, add bool) error {
	u.setup()
	e, err := newEntry(user)
	if err != nil {
		return err
	}
	keep := password == "" && !add
	if !keep {
		if err := u.hash(e, password); err != nil {
			return err
		}
	}
	return u.edit(func(d *document) error {
		// One user may be there under its bare or its full name.
		for _, name := range u.spellings(e.Name) {
			old := d.users[name]
			if old == nil {
				continue
			}
			if add {
				return fmt.Errorf("%w: %q", ErrExists, name)
			}
			if user.Account == "" {
				e.Account = name
			}
			e.Name = name
			if keep {
				e.hash, e.keys = old.hash, old.keys
			}
			d.put(e)
			return nil
		}
		if keep {
			return fmt.Errorf("%w: %q", ErrUnknown, e.Name)
		}
		d.put(e)
		return nil
	})
}

// newEntry checks what can be checked without a document.
func newEntry(user User) (*entry, error) {
	name, err := canonical(user.Name)
	if err != nil {
		return nil, err
	}
	e := &entry{User: User{Name: name, Account: user.Account, Groups: slices.Clone(user.Groups)}}
	if e.Account == "" {
		e.Account = name
	}
	if user.Senders != nil {
		if e.Senders, err = canonicalSenders(user.Senders); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrName, err)
		}
	}
	for _, s := range slices.Concat([]string{e.Account}, e.Senders, e.Groups) {
		if s == "" || !utf8.ValidString(s) {
			return nil, fmt.Errorf("%w: account, sender or group is empty or not UTF-8", ErrName)
		}
	}
	if len(encodeEntry(e)) > maxLine/2 {
		return nil, fmt.Errorf("%w: too many senders or groups", ErrName)
	}
	return e, nil
}

// hash makes what is stored for a password.
func (u *Users) hash(e *entry, password string) error {
	prepared, err := prepare(password)
	if err != nil {
		return err
	}
	leave, err := u.slot(context.Background())
	if err != nil {
		return err
	}
	defer leave()
	e.hash = phc{cost: u.cost(), salt: randomBytes(saltSize)}
	e.hash.hash = make([]byte, hashSize)
	e.hash.hash = u.compute(e.hash, prepared)
	if u.Iterations < 0 {
		return nil
	}
	k, err := sasl.DeriveSCRAMKeys("SHA-256", password, randomBytes(saltSize), u.iterations())
	if err != nil {
		return fmt.Errorf("password: %w", err)
	}
	e.keys = &k
	return nil
}

// Remove removes a user. Errors wrap ErrName or ErrUnknown, or are those of
// the file. Connections that are logged in stay so.
func (u *Users) Remove(name string) error {
	u.setup()
	name, err := canonical(name)
	if err != nil {
		return err
	}
	return u.edit(func(d *document) error {
		for _, n := range u.spellings(name) {
			if e := d.users[n]; e != nil {
				d.drop(e)
				return nil
			}
		}
		return fmt.Errorf("%w: %q", ErrUnknown, name)
	})
}

// List returns the users in the order of their names. The error is the
// file's.
func (u *Users) List() ([]User, error) {
	u.setup()
	if err := u.refresh(); err != nil {
		return nil, err
	}
	u.mu.RLock()
	defer u.mu.RUnlock()
	if u.doc == nil {
		return nil, u.err
	}
	list := make([]User, 0, len(u.doc.users))
	for _, name := range slices.SortedFunc(maps.Keys(u.doc.users), strings.Compare) {
		user := u.doc.users[name].User
		user.Senders, user.Groups = slices.Clone(user.Senders), slices.Clone(user.Groups)
		list = append(list, user)
	}
	return list, nil
}
