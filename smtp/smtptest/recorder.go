package smtptest

import (
	"context"
	"io"
	"net"
	"slices"
	"sync"

	"github.com/posta-mail/posta/smtp"
)

// Message is a message that a Recorder has accepted.
type Message struct {
	smtp.Envelope
	Data     []byte // with CRLF line ends, dots unstuffed
	Protocol string // as smtp.Conn.Protocol
}

// Recorder is a server that keeps messages in memory. Set its fields, then
// call Start. The zero value accepts everything. Its methods are safe for
// concurrent use.
type Recorder struct {
	// Server holds the settings (LMTP, TLSConfig, Auth, limits); its Handler
	// is replaced.
	Server smtp.Server
	// Middleware is put around the Recorder, the first outermost.
	Middleware []smtp.Middleware
	// Mail, Rcpt and Data, if not nil, may refuse: with an *smtp.Error to
	// choose the reply. Data is called before a message is kept; in LMTP
	// its error is for all recipients.
	Mail func(from smtp.Path, opts smtp.MailOptions) error
	Rcpt func(to smtp.Path) error
	Data func(m *Message) error
	// RcptData, if not nil, is the result of a message for one recipient in
	// LMTP.
	RcptData func(m *Message, to smtp.Path) error

	once     sync.Once
	net      network
	mu       sync.Mutex
	messages []Message
	sessions int
	changed  chan struct{}
}

// Start begins to serve connections made by Dial.
func (r *Recorder) Start() {
	r.once.Do(func() {
		r.Server.Handler = smtp.Chain(recorderHandler{r}, r.Middleware...)
		r.net.start(&r.Server)
		go func() { _ = r.Server.Serve(r.net.listener) }()
	})
}

// StartTCP also serves on a port of the loopback interface and returns its
// address.
func (r *Recorder) StartTCP() (addr string, err error) {
	r.Start()
	l, err := r.net.tcp()
	if err != nil {
		return "", err
	}
	go func() { _ = r.Server.Serve(l) }()
	return l.Addr().String(), nil
}

// Dial connects in memory, whatever the address. It fits
// smtp.ClientConfig.DialContext.
func (r *Recorder) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	r.Start()
	return r.net.dial(ctx, loopback)
}

// Misbehave makes the server do wrong on connections made from now on, until
// the next call; those there are go on as they were. Counts begin anew.
func (r *Recorder) Misbehave(f Faults) { r.net.misbehave(f) }

// Misbehaved is how often each rule of the last Misbehave has taken effect.
func (r *Recorder) Misbehaved() []int { return r.net.misbehaved() }

// Close ends the server and all its connections.
func (r *Recorder) Close() error {
	r.Start() // or there is nothing to close
	r.net.close()
	return r.Server.Close()
}

// Messages are the messages accepted so far, in order.
func (r *Recorder) Messages() []Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.messages)
}

// Sessions is the number of connections that got as far as the greeting.
func (r *Recorder) Sessions() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessions
}

// Wait waits until n messages have been accepted and returns them all. When
// ctx ends first it returns what there is, and ctx's error.
func (r *Recorder) Wait(ctx context.Context, n int) ([]Message, error) {
	for {
		r.mu.Lock()
		if r.changed == nil {
			r.changed = make(chan struct{})
		}
		list, changed := slices.Clone(r.messages), r.changed
		r.mu.Unlock()
		if len(list) >= n {
			return list, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return list, ctx.Err()
		}
	}
}

func (r *Recorder) keep(m Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = append(r.messages, m)
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

type recorderHandler struct{ *Recorder }

func (h recorderHandler) NewSession(_ context.Context, c *smtp.Conn) (smtp.Session, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sessions++
	return &recorderSession{r: h.Recorder, c: c}, nil
}

type recorderSession struct {
	r   *Recorder
	c   *smtp.Conn
	env smtp.Envelope
}

func (s *recorderSession) Mail(_ context.Context, from smtp.Path, opts smtp.MailOptions) (smtp.Reply, error) {
	if s.r.Mail != nil {
		if err := s.r.Mail(from, opts); err != nil {
			return smtp.Reply{}, err
		}
	}
	s.env = smtp.Envelope{Peer: s.c.Peer(), Identity: s.c.Identity(), From: from, MailOptions: opts}
	return smtp.Reply{}, nil
}

func (s *recorderSession) Rcpt(_ context.Context, to smtp.Path, opts smtp.RcptOptions) (smtp.Reply, error) {
	if s.r.Rcpt != nil {
		if err := s.r.Rcpt(to); err != nil {
			return smtp.Reply{}, err
		}
	}
	s.env.To = append(s.env.To, smtp.Recipient{Path: to, RcptOptions: opts})
	return smtp.Reply{}, nil
}

func (s *recorderSession) Data(_ context.Context, body io.Reader) (smtp.Result, error) {
	b, err := io.ReadAll(body)
	if err != nil {
		return smtp.Result{}, err
	}
	m := Message{Envelope: s.env, Data: b, Protocol: s.c.Protocol()}
	if s.r.Data != nil {
		if err := s.r.Data(&m); err != nil {
			return smtp.Result{}, err
		}
	}
	var res smtp.Result
	if s.c.LMTP() && s.r.RcptData != nil {
		m.To = nil
		for _, to := range s.env.To {
			err := s.r.RcptData(&m, to.Path)
			if err == nil {
				m.To = append(m.To, to)
			}
			res.Recipients = append(res.Recipients, err)
		}
	}
	if len(m.To) > 0 {
		s.r.keep(m)
	}
	return res, nil
}

func (s *recorderSession) Reset() { s.env = smtp.Envelope{} }
func (s *recorderSession) Close() {}
