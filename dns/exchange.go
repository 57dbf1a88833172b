package dns

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	mdns "github.com/miekg/dns"
)

var (
	errMismatch = errors.New("answer to another question")
	errReferral = errors.New("server does not recurse")
	errNoServer = errors.New("no server configured")
)

// query asks the servers in turn until one gives a usable message: NOERROR or
// NXDOMAIN from a server that recurses.
func (r *Resolver) query(ctx context.Context, name string, qtype uint16) (*mdns.Msg, string, *Error) {
	servers := r.servers()
	last := &Error{Kind: Temporary, Name: name, Type: typeName(qtype), Err: errNoServer}
	attempts := r.Attempts
	if attempts == 0 {
		attempts = defaultAttempts
	}
	first := r.first.Load()
	for i := range max(attempts, 1) * len(servers) {
		idx := (int(first) + i) % len(servers)
		server := servers[idx]
		resp, err := r.askServer(ctx, server, name, qtype)
		if err == nil {
			if i > 0 {
				r.first.CompareAndSwap(first, uint32(idx))
			}
			return resp, server, nil
		}
		last = err
		r.logger().LogAttrs(ctx, slog.LevelDebug, "dns: exchange failed", slog.String("server", server),
			slog.String("name", name), slog.String("type", typeName(qtype)), slog.Any("err", err))
		if ctx.Err() != nil {
			return nil, server, contextError(ctx, name, qtype)
		}
	}
	return nil, last.Server, last
}

// askServer makes one attempt at one server and judges its response code.
func (r *Resolver) askServer(ctx context.Context, server, name string, qtype uint16) (*mdns.Msg, *Error) {
	if r.Timeout >= 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.cap(r.Timeout, defaultTimeout))
		defer cancel()
	}
	fail := func(detail string, err error) *Error {
		e := &Error{Kind: Temporary, Name: name, Type: typeName(qtype), Server: server, Detail: detail, Err: err}
		var ne net.Error
		e.timeout = errors.Is(err, context.DeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
		return e
	}
	resp, err := r.exchange(ctx, server, newQuery(name, qtype, true))
	if err == nil && (resp.Rcode == mdns.RcodeFormatError || resp.Rcode == mdns.RcodeNotImplemented) {
		// A server that knows no EDNS (RFC 6891 §7).
		resp, err = r.exchange(ctx, server, newQuery(name, qtype, false))
	}
	switch {
	case err != nil:
		return nil, fail("", err)
	case resp.Rcode != mdns.RcodeSuccess && resp.Rcode != mdns.RcodeNameError:
		detail := mdns.RcodeToString[resp.Rcode]
		if detail == "" {
			detail = "unknown response code"
		}
		if x := extendedError(resp); x != "" {
			detail += ", " + x
		}
		return nil, fail(detail, nil)
	case refers(resp):
		return nil, fail("", errReferral)
	}
	return resp, nil
}

// newQuery builds a recursive query. The AD bit asks for the AD bit in the
// answer (RFC 6840 §5.7), DO for what a validator behind us would need.
func newQuery(name string, qtype uint16, edns bool) *mdns.Msg {
	var id [2]byte
	rand.Read(id[:]) // never fails (crypto/rand)
	m := &mdns.Msg{
		MsgHdr:   mdns.MsgHdr{Id: binary.BigEndian.Uint16(id[:]), RecursionDesired: true, AuthenticatedData: true},
		Question: []mdns.Question{{Name: toWire(name), Qtype: qtype, Qclass: mdns.ClassINET}},
	}
	if edns {
		m.SetEdns0(ednsPayload, true)
	}
	return m
}

// exchange sends q over UDP, and again over TCP when the answer is truncated
// (RFC 7766 §5) or does not decode.
func (r *Resolver) exchange(ctx context.Context, server string, q *mdns.Msg) (*mdns.Msg, error) {
	wire, err := q.Pack()
	if err != nil {
		return nil, err
	}
	resp, err := r.roundTrip(ctx, "udp", server, q, wire)
	if err == nil && !resp.Truncated {
		return resp, nil
	}
	var bad *decodeError
	if err != nil && !errors.As(err, &bad) {
		return nil, err
	}
	return r.roundTrip(ctx, "tcp", server, q, wire)
}

func (r *Resolver) roundTrip(ctx context.Context, network, server string, q *mdns.Msg, wire []byte) (*mdns.Msg, error) {
	dial := r.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	conn, err := dial(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if d, ok := ctx.Deadline(); ok {
		conn.SetDeadline(d)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var resp *mdns.Msg
	if network == "udp" {
		resp, err = datagrams(conn, q, wire)
	} else {
		resp, err = stream(conn, q, wire)
	}
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return resp, err
}

// datagrams sends a query and waits for its answer. What does not belong to the
// question is ignored, not taken for a failure: anybody can forge a datagram.
func datagrams(conn net.Conn, q *mdns.Msg, wire []byte) (*mdns.Msg, error) {
	if _, err := conn.Write(wire); err != nil {
		return nil, err
	}
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		resp, err := decode(q, buf[:n])
		if !errors.Is(err, errMismatch) {
			return resp, err
		}
	}
}

// stream is one query and answer over TCP (RFC 1035 §4.2.2): a message has at
// most 65,535 octets.
func stream(conn net.Conn, q *mdns.Msg, wire []byte) (*mdns.Msg, error) {
	out := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(wire)), uint16(len(wire)))
	if _, err := conn.Write(append(out, wire...)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	buf := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, buf); err != nil {
		return nil, err
	}
	resp, err := decode(q, buf)
	if err == nil && resp.Truncated {
		err = errors.New("truncated over TCP")
	}
	return resp, err
}

// decodeError is a message with the right id that does not decode.
type decodeError struct{ err error }

func (e *decodeError) Error() string { return "undecodable answer: " + e.err.Error() }
func (e *decodeError) Unwrap() error { return e.err }

// decode checks id and question (RFC 5452 §9.1) and decodes the message.
func decode(q *mdns.Msg, b []byte) (*mdns.Msg, error) {
	if len(b) < 12 || binary.BigEndian.Uint16(b) != q.Id || b[2]&0x80 == 0 {
		return nil, errMismatch
	}
	resp := new(mdns.Msg)
	if err := resp.Unpack(b); err != nil {
		if resp.Truncated { // cut in the middle of a record: TCP will tell
			return resp, nil
		}
		return nil, &decodeError{err}
	}
	if resp.Opcode != mdns.OpcodeQuery {
		return nil, errMismatch
	}
	if len(resp.Question) == 0 && resp.Rcode != mdns.RcodeSuccess && resp.Rcode != mdns.RcodeNameError {
		return resp, nil // servers leave it out of FORMERR
	}
	if len(resp.Question) != 1 {
		return nil, errMismatch
	}
	want, got := q.Question[0], resp.Question[0]
	if got.Qtype != want.Qtype || got.Qclass != want.Qclass || !strings.EqualFold(got.Name, want.Name) {
		return nil, errMismatch
	}
	return resp, nil
}
