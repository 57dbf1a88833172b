package smtp

import (
	"context"
	"io"
	"sync"
)

// Middleware makes a Handler of another: it sees connections, commands and
// messages before that one, and refuses, changes or counts. [LogMessages],
// [CheckPeers], [CheckRecipients] and [LimitSize] make some.
//
// To write one, return a [HandlerFunc] that calls the inner Handler and gives
// its Session back within a type that embeds [Wrapper] and has the methods it
// cares about.
type Middleware func(Handler) Handler

// Chain puts Middleware around h. The first is the outermost: it sees a
// connection or command first and its outcome last. A nil h stays nil, which a
// Server refuses everything with.
func Chain(h Handler, m ...Middleware) Handler {
	if h == nil {
		return nil
	}
	for i := len(m) - 1; i >= 0; i-- {
		h = m[i](h)
	}
	return h
}

// HandlerFunc is a Handler that is a function.
type HandlerFunc func(ctx context.Context, c *Conn) (Session, error)

// NewSession implements Handler.
func (f HandlerFunc) NewSession(ctx context.Context, c *Conn) (Session, error) { return f(ctx, c) }

// Wrapper is a Session that passes everything on to another, extensions
// included: embed it and override what is to be different. A method that
// overrides calls Wrapper's own to go on. A Wrapper without a Session panics.
type Wrapper struct{ Session }

// Unwrap lets [Extensions] find those of the inner Session.
func (w Wrapper) Unwrap() Session { return w.Session }

// wrapSessions is a Middleware that puts each Session into another.
func wrapSessions(wrap func(inner Session, c *Conn) Session) Middleware {
	return func(next Handler) Handler {
		return HandlerFunc(func(ctx context.Context, c *Conn) (Session, error) {
			s, err := next.NewSession(ctx, c)
			if err != nil || s == nil {
				return nil, err
			}
			return wrap(s, c), nil
		})
	}
}

// meter counts the octets of a message on their way to a Session, and ends it
// with tooBig after limit of them. It locks, since a Session may read on in
// another goroutine.
type meter struct {
	r io.Reader

	mu     sync.Mutex
	n      int64
	limit  int64 // negative: none
	tooBig *Error
	err    error // the first error but io.EOF
}

func (m *meter) Read(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return 0, m.err
	}
	room := m.limit - m.n
	if m.limit >= 0 && int64(len(p)) > room+1 {
		p = p[:room+1] // one more than may come tells that more has come
	}
	n, err := m.r.Read(p)
	if m.limit >= 0 && int64(n) > room {
		n, err = int(room), m.tooBig
	}
	m.n += int64(n)
	if err != nil && err != io.EOF {
		m.err = err
	}
	return n, err
}

// WriteTo implements io.WriterTo as the Server's own readers do.
func (m *meter) WriteTo(w io.Writer) (int64, error) {
	src, ok := m.r.(io.WriterTo)
	if !ok {
		return io.Copy(w, struct{ io.Reader }{m})
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return 0, m.err
	}
	out := &meteredWriter{m: m, w: w}
	n, err := src.WriteTo(out)
	switch {
	case out.err != nil: // not the message's, unless it is too big
		if err = out.err; m.tooBig != nil && err == error(m.tooBig) {
			m.err = err
		}
	case err != nil:
		m.err = err
	}
	return n, err
}

type meteredWriter struct {
	m   *meter
	w   io.Writer
	err error
}

func (o *meteredWriter) Write(p []byte) (int, error) {
	m, tooBig := o.m, false
	if room := m.limit - m.n; m.limit >= 0 && int64(len(p)) > room {
		p, tooBig = p[:room], true
	}
	n, err := o.w.Write(p)
	m.n += int64(n)
	if err == nil && tooBig {
		err = m.tooBig
	}
	o.err = err
	return n, err
}

// finish reads what a Session that was content has left, as the Server would,
// and says how many octets there were and why there were no more.
func (m *meter) finish(failed error) (int64, error) {
	if failed == nil {
		_, _ = m.WriteTo(struct{ io.Writer }{io.Discard})
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.n, m.err
}
