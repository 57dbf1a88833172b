package password

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/posta-mail/posta/auth"
)

// ErrCodeNeeded: the password is right, and the user has a second step.
var ErrCodeNeeded = errors.New("password: a code is needed")

// ErrCode: the code is wrong or has been used. It is returned by methods of the
// user's own administration; logins return auth.ErrCredentials.
var ErrCode = errors.New("password: wrong code")

// second is a user's TOTP and the step that was used last.
type second struct {
	TOTP
	last int64
}

const (
	recoveryCodes  = 10
	recoveryGroups = 5 // of 4: 100 bits
)

func (s *second) encode() string {
	return fmt.Sprintf("%s:%d:%d:%s:%d", s.Hash, s.Digits, int(s.Period/time.Second), base32Secret.EncodeToString(s.Secret), s.last)
}

func parseSecond(value string) (*second, error) {
	f := strings.Split(value, ":")
	if len(f) != 5 {
		return nil, errors.New("5 fields expected")
	}
	digits, err1 := strconv.Atoi(f[1])
	period, err2 := strconv.ParseUint(f[2], 10, 16)
	secret, err3 := base32Secret.DecodeString(f[3])
	last, err4 := strconv.ParseInt(f[4], 10, 64)
	s := &second{TOTP{Secret: secret, Hash: f[0], Digits: digits, Period: time.Duration(period) * time.Second}, last}
	if err := errors.Join(err1, err2, err3, err4); err != nil || s.check() != nil || last < 0 {
		return nil, errors.New("fields out of bounds") // without the secret
	}
	return s, nil
}

// SetTOTP gives a user a second step, in the place of one there may be. code is
// what the user's app shows now, so that nobody is locked out by a code that was
// not scanned well; else it is ErrCode. It returns ten recovery codes, each good
// once in place of a code, to be shown once; they are kept as hashes.
// Other errors wrap ErrTOTP, ErrName or ErrUnknown, or are those of the file.
func (u *Users) SetTOTP(user string, t TOTP, code string) (recovery []string, err error) {
	u.setup()
	t = t.settled()
	if err := t.check(); err != nil {
		return nil, err
	}
	t.Secret = slices.Clone(t.Secret)
	step, ok := t.Verify(code, time.Now(), 0)
	if !ok {
		return nil, ErrCode
	}
	err = u.change(user, func(d *document, e *entry) error {
		e.second = &second{t, step}
		recovery = u.recover(d, e)
		return nil
	})
	return recovery, err
}

// recover gives a user new recovery codes.
func (u *Users) recover(d *document, e *entry) []string {
	list := make([]string, recoveryCodes)
	e.recovery = make([][]byte, recoveryCodes)
	for i := range list {
		list[i] = randomText(recoveryGroups)
		text, _ := compact(list[i], recoveryGroups)
		e.recovery[i] = keyed(u.secretOf(d), "recovery", e.Name, text)
	}
	return list
}

// NewRecoveryCodes replaces a user's recovery codes; the former are void. A user
// without a second step is ErrTOTP. Other errors are those of SetTOTP.
func (u *Users) NewRecoveryCodes(user string) (recovery []string, err error) {
	u.setup()
	err = u.change(user, func(d *document, e *entry) error {
		if e.second == nil {
			return fmt.Errorf("%w: %q has none", ErrTOTP, e.Name)
		}
		recovery = u.recover(d, e)
		return nil
	})
	return recovery, err
}

// RemoveTOTP takes a user's second step and recovery codes away. Errors wrap ErrName
// or ErrUnknown, or are those of the file.
func (u *Users) RemoveTOTP(user string) error {
	u.setup()
	return u.change(user, func(_ *document, e *entry) error {
		e.second, e.recovery = nil, nil
		return nil
	})
}

// TwoStep proves a user by their own password and, where they have set one up,
// a second step: a TOTP code or a recovery code. It is for programs that can ask
// for it, as web mail and the page where users manage their app passwords;
// AppsOnly does not concern it. A code that was accepted is void, in all processes
// over the file, before TwoStep returns.
//
// The governor counts and slows it like every login, by req.Peer and user: do
// not call it through auth.Login. Errors wrap auth.ErrCredentials (user, password or
// code), ErrCodeNeeded (with an empty code, only after the right password),
// auth.ErrThrottled or auth.ErrUnavailable. The caller sees to TLS. The time of
// a wrong code is longer than that of a wrong password, and tells no more than
// ErrCodeNeeded does.
func (u *Users) TwoStep(ctx context.Context, req auth.Request, user, password, code string) (*auth.Identity, error) {
	u.setup()
	name, addr := u.CanonicalName(user), req.Peer.Addr()
	if err := u.governor.Admit(ctx, addr, name); err != nil {
		if !errors.Is(err, auth.ErrThrottled) {
			err = fmt.Errorf("%w: %w", auth.ErrUnavailable, err)
		}
		return nil, err
	}
	settle := u.governor.Release
	defer func() { settle(addr, name) }()
	id, err := u.twoStep(ctx, user, password, code)
	switch {
	case err == nil:
		settle = u.governor.Succeeded
	case errors.Is(err, auth.ErrCredentials):
		settle = u.governor.Failed
	}
	return id, err
}

func (u *Users) twoStep(ctx context.Context, user, password, code string) (*auth.Identity, error) {
	if user == "" || password == "" {
		return nil, auth.ErrCredentials
	}
	w, err := u.find(user)
	if err != nil {
		return nil, err
	}
	ok, err := u.own(ctx, w, password)
	if err == nil && !ok {
		err = auth.ErrCredentials
	}
	if err != nil {
		return nil, err
	}
	if w.second != nil {
		if strings.TrimSpace(code) == "" {
			return nil, ErrCodeNeeded
		}
		if err := u.spend(w, code); err != nil {
			return nil, err
		}
	}
	return u.identity(w.entry, "")
}

// spend checks a code and makes it void. Only a right one has the file read and
// written; it is checked again there, as another process may have spent it.
func (u *Users) spend(w *who, code string) error {
	check := func(e *entry, secret []byte) (step int64, recovery int, ok bool) {
		if e.second == nil {
			return 0, -1, false
		}
		if step, ok = e.second.Verify(code, time.Now(), e.second.last); ok {
			return step, -1, true
		}
		text, form := compact(code, recoveryGroups)
		sum := keyed(secret, "recovery", e.Name, text)
		recovery = slices.IndexFunc(e.recovery, func(r []byte) bool { return hmac.Equal(r, sum) })
		return 0, recovery, form && recovery >= 0
	}
	if _, _, ok := check(w.entry, w.secret); !ok {
		return auth.ErrCredentials
	}
	err := u.change(w.Name, func(d *document, e *entry) error {
		step, recovery, ok := check(e, u.secretOf(d))
		switch {
		case !ok:
			return auth.ErrCredentials
		case recovery >= 0:
			e.recovery = slices.Delete(slices.Clone(e.recovery), recovery, recovery+1)
		default:
			next := *e.second
			next.last = step
			e.second = &next
		}
		return nil
	})
	switch {
	case err == nil || errors.Is(err, auth.ErrCredentials):
		return err
	case errors.Is(err, ErrUnknown): // removed in the meantime
		return auth.ErrCredentials
	}
	return fmt.Errorf("%w: %w", auth.ErrUnavailable, err)
}
