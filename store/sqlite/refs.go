package sqlite

import (
	"container/list"
	"fmt"
	"sync"

	"github.com/posta-mail/posta/store"
)

// refCacheSize is how many pages of 128 places are kept, about 7 KiB each.
const refCacheSize = 2048

// refCache keeps pages of places. A cached page is never modified; one that is
// out of date lacks places or still has some of messages that are gone.
type refCache struct {
	mu     sync.Mutex
	items  map[uint64]*list.Element
	recent list.List
}

type refItem struct {
	no   uint64
	page *refPage
}

func (c *refCache) init() { c.items = make(map[uint64]*list.Element) }

func (c *refCache) get(no uint64) *refPage {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.items[no]
	if el == nil {
		return nil
	}
	c.recent.MoveToFront(el)
	return el.Value.(*refItem).page
}

// put replaces a page: after a commit.
func (c *refCache) put(no uint64, p *refPage) { c.add(no, p, true) }

func (c *refCache) add(no uint64, p *refPage, replace bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.items[no]; el != nil {
		if replace {
			el.Value.(*refItem).page = p
		}
		return
	}
	c.items[no] = c.recent.PushFront(&refItem{no, p})
	if c.recent.Len() > refCacheSize {
		el := c.recent.Back()
		delete(c.items, c.recent.Remove(el).(*refItem).no)
	}
}

// forget drops a page, to be read again.
func (c *refCache) forget(no uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.items[no]; el != nil {
		c.recent.Remove(el)
		delete(c.items, no)
	}
}

// copyOf returns a page the committer may modify.
func (c *refCache) copyOf(s *Store, no uint64) (*refPage, error) {
	p := c.get(no)
	if p == nil {
		return s.q.refs(no) // its own already
	}
	q := *p
	return &q, nil
}

// lookup returns where a message of an account is; ErrExpunged if it is gone.
func (s *Store) lookup(account int64, ref uint64) (place, error) {
	l, err := s.locate(ref)
	if err == nil && l.account != account {
		return place{}, fmt.Errorf("%w: message of another account", store.ErrNotFound)
	}
	return l, err
}

func (s *Store) locate(ref uint64) (place, error) {
	no, i := ref>>refShift, ref&(refRows-1)
	if p := s.refs.get(no); p != nil && p[i].seg != 0 {
		return p[i], nil
	}
	// Not there, or the page was read before the commit that put it there.
	p, err := s.q.refs(no)
	if err != nil {
		return place{}, readError(err)
	}
	if p[i].seg == 0 {
		return place{}, errExpunged
	}
	// A commit may have replaced the page meanwhile: only fill a gap.
	s.refs.add(no, p, false)
	return p[i], nil
}

var errExpunged = fmt.Errorf("%w: and its grace time is over", store.ErrExpunged)
