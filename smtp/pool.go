package smtp

import (
	"container/list"
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// poolKey is what connections have to have in common to be exchanged for one
// another. The policy is a part of it: who demands proof never gets a
// connection that was made without.
type poolKey struct {
	addr, serverName, login string
	local                   netip.Addr
	tls                     tlsKey
}

// pool counts connections, keeps the idle ones, and lets callers wait where
// there are too many. Its lock is never held while something is sent.
type pool struct {
	maxOpen, maxOpenHost, maxIdle, maxIdleHost int
	idleTimeout, maxAge                        time.Duration

	mu      sync.Mutex
	hosts   map[string]*poolHost
	waiting list.List // of *poolHost with waiters; who is served goes to the end
	idle    list.List // of *pooled, the longest idle first
	open    int       // connections, also those being made and being ended
	closed  bool
	drained chan struct{} // closed when closed and open is 0

	ctx  context.Context // ends with Close
	stop context.CancelFunc
}

// poolHost is the connections to one address.
type poolHost struct {
	addr    string
	open    int
	idle    []*pooled // the longest idle first
	waiters list.List // of *waiter
	elem    *list.Element
}

type waiter struct {
	key   poolKey
	grant chan *pooled // gets one, or is closed with the pool
	elem  *list.Element
}

// pooled is a connection, or the right to make one while client is nil.
type pooled struct {
	key    poolKey
	host   *poolHost
	shared bool // may be kept for others
	client *Client
	born   time.Time
	used   time.Time // last
	// messages have been sent, of at most max.
	messages, max int
	fallback      error // why it is in plain text

	timer *time.Timer
	turn  int // of being idle; a timer of an earlier turn is void
	elem  *list.Element
}

func (p *pool) init() {
	p.hosts = make(map[string]*poolHost)
	p.drained = make(chan struct{})
	p.ctx, p.stop = context.WithCancel(context.Background())
}

// get returns an idle connection of the key, or the right to make one, as soon
// as the limits allow.
func (p *pool) get(ctx context.Context, key poolKey, shared bool) (*pooled, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, ErrTransportClosed
	}
	h := p.hosts[key.addr]
	if h == nil {
		h = &poolHost{addr: key.addr}
		p.hosts[key.addr] = h
	}
	if shared {
		for i := len(h.idle) - 1; i >= 0; i-- {
			if c := h.idle[i]; c.key == key {
				p.wake(c)
				p.mu.Unlock()
				return c, nil
			}
		}
	}
	if h.open < p.maxOpenHost && p.open < p.maxOpen {
		c := p.slot(h, key)
		p.mu.Unlock()
		c.shared = shared
		return c, nil
	}
	w := &waiter{key: key, grant: make(chan *pooled, 1)}
	w.elem = h.waiters.PushBack(w)
	if h.elem == nil {
		h.elem = p.waiting.PushBack(h)
	}
	victim := p.victim(h)
	p.mu.Unlock()
	if victim != nil {
		p.retire(victim)
	}
	return p.wait(ctx, h, w, shared)
}

func (p *pool) wait(ctx context.Context, h *poolHost, w *waiter, shared bool) (*pooled, error) {
	select {
	case c, ok := <-w.grant:
		if !ok {
			return nil, ErrTransportClosed
		}
		c.shared = shared
		return c, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	left := w.elem != nil
	if left {
		p.leave(h, w)
		p.forget(h)
	}
	p.mu.Unlock()
	if !left { // granted at the same moment
		if c, ok := <-w.grant; ok {
			p.put(c)
		}
	}
	return nil, context.Cause(ctx)
}

// slot counts a connection to be made.
func (p *pool) slot(h *poolHost, key poolKey) *pooled {
	p.open++
	h.open++
	return &pooled{key: key, host: h}
}

// leave takes a waiter out of the queue.
func (p *pool) leave(h *poolHost, w *waiter) {
	h.waiters.Remove(w.elem)
	w.elem = nil
	if h.waiters.Len() == 0 && h.elem != nil {
		p.waiting.Remove(h.elem)
		h.elem = nil
	}
}

// wake takes a connection out of the idle ones.
func (p *pool) wake(c *pooled) {
	c.timer.Stop()
	p.idle.Remove(c.elem)
	c.elem = nil
	c.host.idle = slices.DeleteFunc(c.host.idle, func(o *pooled) bool { return o == c })
}

// victim takes out an idle connection whose end makes room for one to h; nil if
// there is none.
func (p *pool) victim(h *poolHost) *pooled {
	var c *pooled
	switch {
	case h.open >= p.maxOpenHost:
		if len(h.idle) == 0 {
			return nil
		}
		c = h.idle[0]
	case p.idle.Len() > 0:
		c = p.idle.Front().Value.(*pooled)
	default:
		return nil
	}
	p.wake(c)
	return c
}

// put takes a connection back: for who waits for one like it, or to be idle, or
// to be ended.
func (p *pool) put(c *pooled) {
	p.mu.Lock()
	h := c.host
	if !p.keeps(c) {
		p.mu.Unlock()
		p.retire(c)
		return
	}
	for e := h.waiters.Front(); e != nil; e = e.Next() {
		if w := e.Value.(*waiter); w.key == c.key {
			p.leave(h, w)
			w.grant <- c
			p.mu.Unlock()
			return
		}
	}
	if h.waiters.Len() > 0 || (p.open >= p.maxOpen && p.waiting.Len() > 0) || p.maxIdle == 0 || p.maxIdleHost == 0 {
		p.mu.Unlock()
		p.retire(c)
		return
	}
	var victim *pooled
	switch {
	case len(h.idle) >= p.maxIdleHost:
		victim = h.idle[0]
	case p.idle.Len() >= p.maxIdle:
		victim = p.idle.Front().Value.(*pooled)
	}
	if victim != nil {
		p.wake(victim)
	}
	p.rest(c)
	p.mu.Unlock()
	if victim != nil {
		p.retire(victim)
	}
}

// keeps reports whether a connection is good for another message.
func (p *pool) keeps(c *pooled) bool {
	return !p.closed && c.shared && c.client != nil && c.client.Alive() && c.messages < c.max && time.Since(c.born) < p.maxAge
}

// rest makes a connection idle, for a time.
func (p *pool) rest(c *pooled) {
	c.elem = p.idle.PushBack(c)
	c.host.idle = append(c.host.idle, c)
	c.turn++
	turn := c.turn
	c.timer = time.AfterFunc(min(p.idleTimeout, p.maxAge-time.Since(c.born)), func() {
		p.mu.Lock()
		mine := c.elem != nil && c.turn == turn
		if mine {
			p.wake(c)
		}
		p.mu.Unlock()
		if mine {
			p.end(c)
		}
	})
}

// retire ends a connection that nobody uses, without waiting for its server.
func (p *pool) retire(c *pooled) {
	if c.client == nil || !c.client.Alive() {
		p.end(c)
		return
	}
	go p.end(c)
}

// end ends a connection; only then another may take its place.
func (p *pool) end(c *pooled) {
	if c.client != nil {
		if c.client.Alive() {
			_ = c.client.Quit(p.ctx) // RFC 5321 §4.1.1.10
		}
		_ = c.client.Close()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open--
	c.host.open--
	p.dispatch()
	p.forget(c.host)
	if p.closed && p.open == 0 {
		close(p.drained)
	}
}

// dispatch lets those make connections for whom there is room, host by host.
func (p *pool) dispatch() {
	for e := p.waiting.Front(); e != nil && p.open < p.maxOpen; {
		h := e.Value.(*poolHost)
		next := e.Next()
		if h.open < p.maxOpenHost {
			w := h.waiters.Front().Value.(*waiter)
			p.leave(h, w)
			w.grant <- p.slot(h, w.key)
			if h.elem != nil {
				p.waiting.MoveToBack(h.elem)
			}
			next = p.waiting.Front()
		}
		e = next
	}
}

// forget drops a host that nothing is known of.
func (p *pool) forget(h *poolHost) {
	if h.open == 0 && h.waiters.Len() == 0 && p.hosts[h.addr] == h {
		delete(p.hosts, h.addr)
	}
}

// takeIdle takes all idle connections out; with shut nobody gets one any more.
func (p *pool) takeIdle(shut bool) []*pooled {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []*pooled
	for e := p.idle.Front(); e != nil; e = p.idle.Front() {
		c := e.Value.(*pooled)
		p.wake(c)
		list = append(list, c)
	}
	if !shut || p.closed {
		return list
	}
	p.closed = true
	for e := p.waiting.Front(); e != nil; e = p.waiting.Front() {
		h := e.Value.(*poolHost)
		for h.elem != nil {
			w := h.waiters.Front().Value.(*waiter)
			p.leave(h, w)
			close(w.grant)
		}
	}
	if p.open == 0 {
		close(p.drained)
	}
	return list
}
