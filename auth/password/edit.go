package password

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
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
	// AppsOnly says that mail programs need an app password (see
	// [Users.AddApp]): the user's own is good for [Users.TwoStep] only.
	AppsOnly bool
}

// Add adds a user with the defaults of [User]. Errors wrap ErrName,
// ErrPassword or ErrExists, or are those of the file. It takes as long as
// hashing the password does, some 40 ms, and the file's fsync.
func (u *Users) Add(name, password string) error {
	return u.set(User{Name: name}, password, "", true)
}

// SetPassword gives a user another password and leaves all else as it is: app
// passwords and a second step too. Errors wrap ErrName, ErrUnknown or ErrPassword, or
// are those of the file.
func (u *Users) SetPassword(name, password string) error {
	u.setup()
	w, err := u.known(name)
	if err != nil {
		return err
	}
	made := &entry{User: User{Name: w.Name}}
	if err := u.hash(made, password); err != nil {
		return err
	}
	return u.change(w.Name, func(_ *document, e *entry) error {
		e.hash, e.keys = made.hash, made.keys
		return nil
	})
}

// SetHash is Set for a password of which only a hash is known, as another program
// has stored it: in the forms that the package's documentation lists, with
// or without Dovecot's prefix. An Argon2id hash is taken to be of the password
// as it was sent. It is hashed anew, and SCRAM keys are made, when the user next
// logs in with it. Errors wrap ErrName or ErrHash, or are those of the file.
func (u *Users) SetHash(user User, hash string) error {
	if strings.HasPrefix(hash, "$argon2id$") {
		hash = "{ARGON2ID}" + hash
	}
	return u.set(user, "", hash, false)
}

// Set adds a user or replaces the one of that name, whose app passwords and
// second step stay. An empty password keeps the present one; then the user must exist (else ErrUnknown). Other errors
// are those of Add.
func (u *Users) Set(user User, password string) error {
	return u.set(user, password, "", false)
}

func (u *Users) set(user User, password, hash string, add bool) error {
	u.setup()
	e, err := newEntry(user)
	if err != nil {
		return err
	}
	keep := password == "" && hash == "" && !add
	switch {
	case hash != "":
		if e.hash, err = parseStored(hash); err != nil {
			return fmt.Errorf("%w: %w", ErrHash, err)
		}
	case !keep:
		if err := u.hash(e, password); err != nil {
			return err
		}
	}
	made := e
	return u.edit(func(d *document) error {
		e := new(entry)
		*e = *made // it may be called again
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
			e.apps, e.second, e.recovery = old.apps, old.second, old.recovery
			if len(encodeEntry(e)) > maxLine {
				return ErrTooMany
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
	e := &entry{User: User{Name: name, Account: user.Account, Groups: slices.Clone(user.Groups), AppsOnly: user.AppsOnly}}
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
	e.hash = newStored(u.cost(), prepared)
	w, err := u.find(e.Name)
	if err != nil { // there is no file yet, or edit will tell
		w = &who{name: u.qualified(e.Name), secret: u.decoy}
	}
	var like keys
	if w.entry != nil && len(w.apps) > 0 {
		like = w.allShown()
	}
	e.keys, err = u.derive(password, w.name, w.secret, like)
	return err
}

// known looks up a user who must be there.
func (u *Users) known(name string) (*who, error) {
	if _, err := canonical(name); err != nil {
		return nil, err
	}
	w, err := u.find(name)
	if err != nil {
		return nil, err
	}
	if w.entry == nil {
		return nil, fmt.Errorf("%w: %q", ErrUnknown, name)
	}
	return w, nil
}

// change replaces a user by what change makes of a copy, in the file as it is
// now. Slices of the copy are still the old one's.
func (u *Users) change(name string, change func(*document, *entry) error) error {
	name, err := canonical(name)
	if err != nil {
		return err
	}
	return u.edit(func(d *document) error {
		for _, n := range u.spellings(name) {
			old := d.users[n]
			if old == nil {
				continue
			}
			next := *old
			if err := change(d, &next); err != nil {
				return err
			}
			if len(encodeEntry(&next)) > maxLine {
				return ErrTooMany
			}
			d.put(&next)
			return nil
		}
		return fmt.Errorf("%w: %q", ErrUnknown, name)
	})
}

// secretOf is the secret of a document that is being changed.
func (u *Users) secretOf(d *document) []byte {
	if len(d.secret) > 0 {
		return d.secret
	}
	return u.decoy
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
		err := fmt.Errorf("%w: %q", ErrUnknown, name)
		// In a file written by hand it may be there under both, and the other one
		// would come alive.
		for _, n := range u.spellings(name) {
			if e := d.users[n]; e != nil {
				d.drop(e)
				err = nil
			}
		}
		return err
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
