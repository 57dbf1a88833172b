package dkim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// Resolver is what a Verifier needs of the DNS; *net.Resolver has it. The
// strings of one TXT record come joined (RFC 6376 §3.6.2.2). An error in which
// errors.As finds a *net.DNSError with IsNotFound means that there is no
// record; every other error is temporary. It must be safe for concurrent use
// and end when ctx does.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// maxKeyRecords is how many records at one name are considered: RFC 6376
// §3.6.2.2 leaves several undefined.
const maxKeyRecords = 4

// keyLookup is a key on its way; records and err are set when done is closed.
type keyLookup struct {
	name    string
	done    chan struct{} // nil until it is sent for, or if nobody had to wait
	records []*KeyRecord
	err     error
	first   KeyRecord // what records mostly is
	one     [1]*KeyRecord
	room    [300]byte // of an RSA key of 2048 bits
}

// wait waits for a key, until the deadline.
func (n *Verification) wait(k *keyLookup) ([]*KeyRecord, error) {
	if k.done == nil {
		return k.records, k.err
	}
	select {
	case <-k.done:
		return k.records, k.err
	default:
	}
	select {
	case <-k.done:
		return k.records, k.err
	case <-n.ctx.Done():
		err := n.ctx.Err()
		if !time.Now().Before(n.deadline) {
			err = context.DeadlineExceeded
		}
		return nil, fmt.Errorf("%w: %w", ErrKeyUnavailable, err)
	}
}

// fetch is the goroutine of a lookup.
func (k *keyLookup) fetch(ctx context.Context, v *Verifier) {
	defer close(k.done)
	k.records, k.err = v.lookupKey(ctx, k.name, k)
}

// want asks for the key of a signature, once per key.
func (n *Verification) want(s *signature) *keyLookup {
	for _, k := range n.keys {
		if k.name == s.keyName {
			return k
		}
	}
	k := &n.first
	if len(n.keys) > 0 {
		k = new(keyLookup)
	}
	k.name = s.keyName
	n.keys = append(n.keys, k)
	return k
}

// send sends for the keys that are wanted. last says that nothing is left to be
// done but to wait for them: a single one is then fetched without a goroutine,
// which costs more than all else but the signature.
func (n *Verification) send(last bool) {
	if n.cancel != nil || len(n.keys) == 0 {
		return
	}
	timeout := orDefault(n.v.Timeout, DefaultTimeout)
	if last && len(n.keys) == 1 {
		n.ctx, n.cancel = context.WithTimeout(n.ctx, timeout)
		n.first.records, n.first.err = n.v.lookupKey(n.ctx, n.first.name, &n.first)
		return
	}
	// One budget for all keys.
	n.ctx, n.cancel = context.WithCancel(n.ctx)
	n.deadline, n.timer = time.Now().Add(timeout), time.AfterFunc(timeout, n.cancel)
	for _, k := range n.keys {
		k.done = make(chan struct{})
		go k.fetch(n.ctx, n.v)
	}
}

// LookupKey fetches the key records of a selector, usually one, at most four.
// Errors are ErrKeyUnavailable, ErrNoKey, ErrKeySyntax and ErrKeyRecordSize;
// where one record is usable, others that are not are passed over.
func (v *Verifier) LookupKey(ctx context.Context, domain, selector string) ([]*KeyRecord, error) {
	return v.lookupKey(ctx, selector+"._domainkey."+domain, new(keyLookup))
}

// lookupKey is LookupKey by the name in DNS; it takes the room in k.
func (v *Verifier) lookupKey(ctx context.Context, name string, k *keyLookup) ([]*KeyRecord, error) {
	var txts []string
	var err error
	if r, ok := v.Resolver.(*net.Resolver); ok || v.Resolver == nil {
		if r == nil {
			r = net.DefaultResolver
		}
		// Rooted, so that the search list of the host does not come in.
		txts, err = r.LookupTXT(ctx, name+".")
	} else {
		txts, err = v.Resolver.LookupTXT(ctx, name)
	}
	if err != nil {
		var d *net.DNSError
		if errors.As(err, &d) && d.IsNotFound {
			return nil, ErrNoKey
		}
		return nil, fmt.Errorf("%w: %w", ErrKeyUnavailable, err)
	}
	err = ErrNoKey
	records, r := k.one[:0], &k.first
	for _, txt := range txts[:min(len(txts), 16)] {
		if len(txt) > orDefault(v.MaxRecordBytes, DefaultMaxRecordBytes) {
			err = ErrKeyRecordSize
			continue
		}
		if r == nil {
			r = new(KeyRecord)
		}
		if bad := r.parse(txt, k.room[:0]); bad != nil {
			if err == ErrNoKey {
				err = bad
			}
			continue
		}
		if records = append(records, r); len(records) == maxKeyRecords {
			break
		}
		r = nil
	}
	if len(records) > 0 {
		return records, nil
	}
	return nil, err
}
