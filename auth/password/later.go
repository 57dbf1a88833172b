package password

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/posta-mail/posta/auth"
)

// later is what logins leave to be written when nobody waits for it: hashes
// made anew, and the last uses of app passwords.
type later struct {
	mu      sync.Mutex
	jobs    []renewal       // waiting to be hashed
	names   map[string]bool // whose is waiting or being made
	working chan struct{}   // closed when the one worker ends; nil: there is none
	paused  time.Time       // until when nothing is tried, after a failure
	uses    map[useKey]use  // since the last writing
	timer   *time.Timer
}

const (
	maxRenewals = 64        // that wait; further logins try again the next time
	maxUses     = 65_536    // that are remembered
	pause       = time.Hour // after the file could not be written
)

// renewal is a password that is to be hashed anew. Before and made are the
// texts of the entry.
type renewal struct {
	name, password string // prepared
	before         *entry
	hash           stored
	keys           keys
}

type useKey struct{ user, id string }

type use struct {
	at   time.Time
	addr netip.Addr
}

// stale reports whether of a password that is known now something better should
// be kept.
func (u *Users) stale(e *entry) bool {
	if e.hash.weaker(u.cost()) {
		return true
	}
	for _, h := range u.hashes() {
		k, ok := e.keys[h]
		// Keys with more iterations would leave those of app passwords behind.
		if !ok || k.Iterations < u.iterations() && len(e.apps) == 0 {
			return true
		}
	}
	return false
}

// renew has a password hashed anew and written, if it should be. It does not
// wait. prepared is the user's password.
func (u *Users) renew(e *entry, prepared string) {
	if u.ReadOnly || !u.stale(e) {
		return
	}
	l := &u.later
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.jobs) >= maxRenewals || l.names[e.Name] || time.Now().Before(l.paused) {
		return
	}
	if l.names == nil {
		l.names = make(map[string]bool)
	}
	l.names[e.Name] = true
	l.jobs = append(l.jobs, renewal{name: e.Name, password: prepared, before: e})
	if l.working == nil {
		l.working = make(chan struct{})
		go u.work(l.working)
	}
}

// work hashes what is waiting, one password at a time, and writes the file
// when none is left or many are ready. It ends when there is nothing to do.
func (u *Users) work(done chan struct{}) {
	defer close(done)
	l := &u.later
	var ready []renewal
	for {
		l.mu.Lock()
		var job renewal
		more := len(l.jobs) > 0
		if more {
			job = l.jobs[0]
			l.jobs = slices.Delete(l.jobs, 0, 1)
		} else if len(ready) == 0 {
			l.working = nil
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		if more {
			if err := u.make(&job); err == nil {
				ready = append(ready, job)
			} else {
				u.logger().Warn("password is not hashed anew", "user", job.name, "err", err)
				l.forget(job)
			}
		}
		if !more || len(ready) >= maxRenewals {
			u.write(ready)
			ready = nil
		}
	}
}

// forget ends renewals.
func (l *later) forget(jobs ...renewal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, j := range jobs {
		delete(l.names, j.name)
	}
}

func (u *Users) make(job *renewal) (err error) {
	leave, err := u.slot(context.Background())
	if err != nil {
		return err
	}
	defer leave()
	job.hash = job.before.hash
	if job.hash.weaker(u.cost()) {
		job.hash = newStored(u.cost(), job.password)
	}
	like := job.before.allShown()
	if len(job.before.apps) == 0 {
		for h, k := range like {
			k.Iterations = max(k.Iterations, u.iterations())
			like[h] = k
		}
	}
	u.mu.RLock()
	secret := u.secret()
	u.mu.RUnlock()
	job.keys, err = u.derive(job.password, u.qualified(job.name), secret, like)
	return err
}

// write puts what has been made in the place of what it was made from. Who has
// been changed or removed in the meantime, by whomever, stays so.
func (u *Users) write(ready []renewal) {
	defer u.later.forget(ready...)
	err := u.edit(func(d *document) error {
		for _, r := range ready {
			e := d.users[r.name]
			if e == nil || e.hash.text != r.before.hash.text || encodeKeys(e.keys, ",") != encodeKeys(r.before.keys, ",") {
				continue
			}
			next := *e
			next.hash = r.hash
			if r.keys != nil {
				next.keys = r.keys
			}
			if len(encodeEntry(&next)) <= maxLine {
				d.put(&next)
			}
		}
		return nil
	})
	if err != nil {
		u.later.mu.Lock()
		u.later.paused = time.Now().Add(pause)
		u.later.mu.Unlock()
		u.logger().Warn("passwords hashed anew cannot be written; logins go on", "file", u.path, "err", err, "retry", pause)
	}
}

// used notes that a login with an app password succeeded, if the user still
// has it (else ErrCredentials).
func (u *Users) used(user string, a *app, req auth.Request) error {
	u.mu.RLock()
	has := false
	if u.doc != nil {
		if e := u.doc.users[user]; e != nil {
			has = slices.ContainsFunc(e.apps, func(b *app) bool { return b.ID == a.ID && string(b.hash) == string(a.hash) })
		}
	}
	u.mu.RUnlock()
	if !has {
		return auth.ErrCredentials
	}
	l := &u.later
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.uses == nil {
		l.uses = make(map[useKey]use)
	}
	k := useKey{user, a.ID}
	if _, known := l.uses[k]; !known && len(l.uses) >= maxUses {
		return nil
	}
	l.uses[k] = use{time.Now().UTC().Truncate(time.Second), req.Peer.Addr()}
	if l.timer == nil && !u.ReadOnly {
		l.timer = time.AfterFunc(positive(u.WriteUses, 10*time.Minute), func() {
			if err := u.writeUses(); err != nil {
				u.logger().Warn("last uses of app passwords cannot be written", "file", u.path, "err", err)
			}
		})
	}
	return nil
}

// use is what has not been written of an app password.
func (l *later) use(user, id string) (use, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found, ok := l.uses[useKey{user, id}]
	return found, ok
}

// writeUses writes the last uses. What it could not write stays for the next
// time.
func (u *Users) writeUses() error {
	l := &u.later
	l.mu.Lock()
	if l.timer != nil {
		l.timer.Stop()
	}
	uses := l.uses
	l.timer, l.uses = nil, nil
	l.mu.Unlock()
	if len(uses) == 0 {
		return nil
	}
	err := u.edit(func(d *document) error {
		users := make(map[string]bool)
		for k := range uses {
			users[k.user] = true
		}
		for name := range users {
			e := d.users[name]
			if e == nil {
				continue
			}
			next := *e
			next.apps = slices.Clone(e.apps)
			for i, a := range next.apps {
				if last, ok := uses[useKey{name, a.ID}]; ok && !last.at.Before(a.LastUse) {
					one := *a
					one.LastUse, one.LastAddr = last.at, last.addr
					next.apps[i] = &one
				}
			}
			// A line that is too long would make the file useless.
			if len(encodeEntry(&next)) <= maxLine {
				d.put(&next)
			}
		}
		return nil
	})
	if err == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, v := range l.uses {
		uses[k] = v
	}
	l.uses = uses
	return err
}

// Flush waits until the passwords that are being hashed anew are written, and
// writes the last uses of app passwords. Call it before the process ends: what
// is not written then is only made again at the next login, or not known. Its error
// is ctx's, or the file's. With ReadOnly it writes nothing.
func (u *Users) Flush(ctx context.Context) error {
	u.setup()
	for {
		u.later.mu.Lock()
		working := u.later.working
		u.later.mu.Unlock()
		if working == nil {
			break
		}
		select {
		case <-working:
		case <-ctx.Done():
			return fmt.Errorf("password: %w", ctx.Err())
		}
	}
	if u.ReadOnly {
		return nil
	}
	return u.writeUses()
}
