package mta

import (
	"context"
	"io"
	"strings"

	"github.com/posta-mail/posta/auth/dkim"
)

// DKIM returns a Signer over keys: a message is signed with every key whose
// domain is the author's or a parent of it, so that the signature is aligned
// for DMARC. Domains are compared as A-labels (RFC 8616 §5).
func DKIM(keys ...*dkim.Signer) Signer { return dkimKeys(keys) }

type dkimKeys []*dkim.Signer

func (k dkimKeys) Sign(ctx context.Context, domain string, message io.Reader) ([]byte, error) {
	if a, ok := dkim.CanonicalDomain(domain, 1); ok {
		domain = a
	}
	var use []*dkim.Signer
	for _, s := range k {
		own, ok := dkim.CanonicalDomain(s.Domain, 1)
		if ok && (domain == own || strings.HasSuffix(domain, "."+own)) {
			use = append(use, s)
		}
	}
	if len(use) == 0 {
		return nil, nil
	}
	return dkim.Sign(ctx, use, message)
}
