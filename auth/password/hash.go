package password

import (
	"context"
	"crypto/rand"
	"errors"
)

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// cost is that of new passwords.
func (u *Users) cost() cost {
	return cost{
		scheme: "argon2id",
		a:      uint32(min(positive(u.HashMemory, 19456), maxMemory)),
		b:      uint32(min(positive(u.HashPasses, 2), maxPasses)),
		c:      1,
	}
}

var errBusy = errors.New("password: too many logins are waiting")

// slot takes one of the places for hashing; the returned function gives it
// back.
func (u *Users) slot(ctx context.Context) (func(), error) {
	leave := func() { <-u.slots }
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case u.slots <- struct{}{}:
		return leave, nil
	default:
	}
	if u.queued.Add(1) > int64(positive(u.MaxWaiting, 4096)) {
		u.queued.Add(-1)
		return nil, errBusy
	}
	defer u.queued.Add(-1)
	select {
	case u.slots <- struct{}{}:
		return leave, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// verify tells whether password is the one that stored was made from. The
// cache may know.
func (u *Users) verify(ctx context.Context, name, password string, st stored) (bool, error) {
	return u.cache.do(ctx, u.cache.key(name, password, st.scheme, string(st.id[:])), func() (bool, error) {
		leave, err := u.slot(ctx)
		if err != nil {
			return false, err
		}
		defer leave()
		return u.check(st, password), nil
	})
}
