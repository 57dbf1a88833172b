package mta

import (
	"context"
	"io"
	"strings"

	"github.com/posta-mail/posta/auth/dkim"
)

// DKIM returns a Signer over keys: a message is signed with every key whose
// domain is the author's or a parent of it, so that the signature is aligned
// for DMARC.
func DKIM(keys ...*dkim.Signer) Signer { return dkimKeys(keys) }

type dkimKeys []*dkim.Signer

func (k dkimKeys) Sign(ctx context.Context, domain string, message io.Reader) ([]byte, error) {
	var use []*dkim.Signer
	for _, s := range k {
		if strings.EqualFold(domain, s.Domain) || strings.HasSuffix(strings.ToLower(domain), "."+strings.ToLower(s.Domain)) {
			use = append(use, s)
		}
	}
	if len(use) == 0 {
		return nil, nil
	}
	return dkim.Sign(ctx, use, message)
}
