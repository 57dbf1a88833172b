package imap

import (
	"bytes"
	"context"
	"io"
	"strings"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/internal/mutf7"
	"github.com/posta-mail/posta/store"
)

// resource is the octets that an IMAP URL names.
type resource struct {
	r      io.ReaderAt
	off, n int64
	body   store.Body
	budget interface{ Release(int) }
	lent   int
}

// close releases what the resource holds. It may be called more than once.
func (r *resource) close() {
	if r.body == nil {
		return
	}
	_ = r.body.Close()
	r.budget.Release(r.lent)
	r.r, r.body = nil, nil
}

// isUs reports whether a URL's host means this server.
func (s *session) isUs(host string) bool {
	if len(s.srv.URLHosts) == 0 {
		return true
	}
	for _, h := range s.srv.URLHosts {
		if strings.EqualFold(h, host) {
			return true
		}
	}
	return false
}

// resolveURL finds what a URL names among what the user may read: in his own
// namespace, or in the selected mailbox. ErrNotFound if there is no such thing.
func (s *session) resolveURL(u *wire.URL) (resource, error) {
	if u.Absolute && (!s.isUs(u.Host) || u.User != "" && u.User != s.acc.Name() && u.User != s.id.Login) {
		return resource{}, store.ErrNotFound
	}
	if !u.HasMailbox { // RFC 4469 §3: relative to the selected mailbox
		if s.sel == nil {
			return resource{}, store.ErrNotFound
		}
		return s.resource(s.ctx, s.sel.mb, s.sel.told, u)
	}
	sent := u.Mailbox
	if !s.utf8() {
		sent = mutf7.Encode(sent)
	}
	box, err := s.open(sent)
	if err != nil {
		return resource{}, err
	}
	if s.sel != nil && s.sel.acc.Name() == box.acc.Name() && s.sel.mb.ID() == box.info.ID {
		// As the client knows it: what is gone may still be read.
		return s.resource(s.ctx, s.sel.mb, s.sel.told, u)
	}
	snap, err := box.mb.Snapshot(s.ctx)
	if err != nil {
		return resource{}, err
	}
	return s.resource(s.ctx, box.mb, snap, u)
}

// resource finds the part of a message that a URL names.
func (s *session) resource(ctx context.Context, mb store.Mailbox, snap *store.Snapshot, u *wire.URL) (resource, error) {
	if u.UIDValidity != 0 && u.UIDValidity != snap.UIDValidity() {
		return resource{}, store.ErrNotFound
	}
	i, found := snap.Find(store.UID(u.UID))
	if !found {
		return resource{}, store.ErrNotFound
	}
	row := snap.At(i)
	body, err := mb.Open(ctx, row)
	if err != nil {
		return resource{}, err
	}
	r := resource{r: body, n: body.Size(), body: body, budget: s.srv.budget}
	if err := s.narrow(ctx, &r, mb, row, u); err != nil {
		r.close()
		return resource{}, err
	}
	return r, nil
}

// narrow cuts a message down to the section and the octets asked for.
func (s *session) narrow(ctx context.Context, r *resource, mb store.Mailbox, row store.Row, u *wire.URL) error {
	sec := &u.Section
	if len(sec.Path) > 0 || sec.Text != wire.SectionAll {
		ok := false
		for d, err := range mb.Details(ctx, []store.Row{row}) {
			if err != nil {
				return err
			}
			r.off, r.n, ok = locate(sec, r.body.Size(), d.Outline)
		}
		if !ok {
			return store.ErrNotFound
		}
	}
	if sec.Text == wire.SectionHeaderFields || sec.Text == wire.SectionHeaderFieldsNot {
		if err := s.filterFields(r, sec); err != nil {
			return err
		}
	}
	if u.Partial {
		length := u.Length
		if length == 0 { // to the end
			length = uint64(r.n)
		}
		r.off, r.n = cut(&wire.FetchItem{Partial: true, Offset: u.Offset, Length: length}, r.off, r.n)
	}
	return nil
}

// filterFields puts a filtered header in the place of a whole one.
func (s *session) filterFields(r *resource, sec *wire.Section) error {
	n := int(min(r.n, maxHeader))
	if !s.srv.budget.Acquire(n + 2) {
		return store.ErrUnavailable
	}
	r.lent = n + 2
	raw := make([]byte, n, n+2)
	if m, err := r.r.ReadAt(raw, r.off); m < n {
		return unexpected(err)
	}
	raw = filterHeader(raw, sec.Fields, sec.Text == wire.SectionHeaderFieldsNot, n == maxHeader)
	r.r, r.off, r.n = bytes.NewReader(raw), 0, int64(len(raw))
	return nil
}
