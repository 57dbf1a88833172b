package transfer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/posta-mail/posta/store"
)

// What is placed at once, and how many such batches are under way while the
// next is read.
const (
	batchMessages = 256
	batchOctets   = 4 << 20
	batchesAhead  = 2
)

// Open implements Sink.
func (a Account) Open(ctx context.Context, f Folder, _ string) (FolderSink, error) {
	acct, err := a.open(ctx)
	if errors.Is(err, store.ErrNotFound) && a.Create {
		if err = a.Store.CreateAccount(ctx, a.Name); err == nil || errors.Is(err, store.ErrExists) {
			acct, err = a.open(ctx)
		}
	}
	if err != nil {
		return nil, err
	}
	if _, err := acct.Mailbox(ctx, f.Name); errors.Is(err, store.ErrNotFound) {
		_, err := acct.Create(ctx, f.Name, store.CreateOptions{SpecialUse: f.SpecialUse})
		if f.SpecialUse != "" && err != nil && !errors.Is(err, store.ErrExists) {
			// Another mailbox may have that use already.
			_, err = acct.Create(ctx, f.Name, store.CreateOptions{})
		}
		if err != nil && !errors.Is(err, store.ErrExists) {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	if f.Subscribed {
		if err := acct.Subscribe(ctx, f.Name, true); err != nil {
			return nil, err
		}
	}
	return &accountSink{st: a.Store, account: a.Name, mailbox: f.Name}, nil
}

// accountSink files into one mailbox.
type accountSink struct {
	st               store.Store
	account, mailbox string
	batch            batch
	ahead            []batch
}

// batch is what is placed at once.
type batch struct {
	targets []store.Target
	done    []func(Filed)
	octets  int64
	wait    func() []store.Placed
}

func (b *batch) discard() {
	for _, t := range b.targets {
		t.Body.Discard()
	}
}

func (s *accountSink) Put(ctx context.Context, m *Message, done func(Filed)) error {
	body, err := s.st.Stage(ctx, m.Body)
	if err != nil {
		if errors.Is(err, store.ErrLimit) {
			return fmt.Errorf("%w: %w", ErrTooBig, err)
		}
		return err
	}
	t := store.Target{
		Account: s.account, Mailbox: s.mailbox, Body: body, Flags: cleanFlags(m.Flags), Date: m.Date, Token: m.Token(), UIDL: m.UIDL,
	}
	if err := t.Check(); err != nil && t.UIDL != "" {
		t.UIDL = ""
	}
	s.batch.targets = append(s.batch.targets, t)
	s.batch.done = append(s.batch.done, done)
	if s.batch.octets += body.Size(); len(s.batch.targets) < batchMessages && s.batch.octets < batchOctets {
		return nil
	}
	if len(s.ahead) >= batchesAhead {
		if err := s.settle(ctx); err != nil {
			return err
		}
	}
	s.send(ctx)
	return nil
}

// send begins to place what has been collected.
func (s *accountSink) send(ctx context.Context) {
	b := s.batch
	s.batch = batch{}
	b.wait = store.PlaceLater(ctx, s.st, b.targets)
	s.ahead = append(s.ahead, b)
}

// settle waits for the oldest batch under way.
func (s *accountSink) settle(ctx context.Context) error {
	b := s.ahead[0]
	s.ahead = slices.Delete(s.ahead, 0, 1)
	defer b.discard()
	placed := b.wait()
	if slices.ContainsFunc(placed, func(p store.Placed) bool { return refused(p.Err) }) {
		// One commit for all: who is to blame shows when each is on its own.
		return s.single(ctx, b)
	}
	for i, p := range placed {
		if p.Err != nil {
			return p.Err
		}
		b.done[i](Filed{Duplicate: p.Duplicate})
	}
	return nil
}

// refused reports whether an error of Place is about the message.
func refused(err error) bool {
	return errors.Is(err, store.ErrLimit) || errors.Is(err, store.ErrInvalid)
}

// single places a batch one by one, without keywords where they are what the
// store does not take.
func (s *accountSink) single(ctx context.Context, b batch) error {
	for i := range b.targets {
		p := s.st.Place(ctx, b.targets[i:i+1])[0]
		altered := false
		if refused(p.Err) {
			t := b.targets[i]
			t.Flags = systemFlagsOf(t.Flags)
			if altered = len(t.Flags) < len(b.targets[i].Flags); altered {
				p = s.st.Place(ctx, []store.Target{t})[0]
			}
		}
		switch {
		case p.Err == nil:
			b.done[i](Filed{Duplicate: p.Duplicate, Altered: altered})
		case refused(p.Err):
			b.done[i](Filed{Err: p.Err})
		default:
			return p.Err
		}
	}
	return nil
}

func (s *accountSink) Flush(ctx context.Context) error {
	if len(s.batch.targets) > 0 {
		s.send(ctx)
	}
	for len(s.ahead) > 0 {
		if err := s.settle(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *accountSink) Close(bool) error {
	s.batch.discard()
	s.batch = batch{}
	for _, b := range s.ahead {
		b.wait()
		b.discard()
	}
	s.ahead = nil
	return nil
}

// cleanFlags leaves out what is no flag of a store, such as \Recent.
func cleanFlags(flags []store.Flag) []store.Flag {
	return slices.DeleteFunc(slices.Clone(flags), func(f store.Flag) bool {
		return store.FlagBit(f, nil) == 0 && !store.ValidKeyword(f)
	})
}
