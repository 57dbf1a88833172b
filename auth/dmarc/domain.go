package dmarc

import (
	"fmt"
	"strings"

	"golang.org/x/net/idna"

	"github.com/posta-mail/posta/message"
)

// AuthorDomain takes the Author Domain from the values of all From fields of a
// message (the text behind "From:", folded or not): in lower case, with
// A-labels (RFC 9989 §5.3.1). There must be exactly one field, and exactly one
// domain in it; several addresses of the same domain are fine. Errors are
// ErrNoAuthor, ErrManyAuthors and ErrAuthorDomain.
func AuthorDomain(from []string) (string, error) {
	if len(from) > 1 {
		return "", fmt.Errorf("%w: %d From fields", ErrManyAuthors, len(from))
	}
	domain, invalid := "", false
	for _, value := range from {
		list, _ := message.ParseAddressList(strings.NewReplacer("\r", "", "\n", "").Replace(value))
		for _, a := range list {
			if !a.IsMailbox() || a.Host == message.NoHost {
				continue
			}
			d, ok := canonicalDomain(a.Host)
			if !ok {
				d = strings.ToLower(a.Host)
			}
			if domain != "" && d != domain {
				return "", ErrManyAuthors
			}
			domain, invalid = d, !ok
		}
	}
	if domain == "" {
		return "", ErrNoAuthor
	}
	if invalid {
		return "", ErrAuthorDomain
	}
	return domain, nil
}

// canonicalDomain returns a domain name in lower case with A-labels and without
// final dot; ok is false where it cannot be a name in the DNS.
func canonicalDomain(s string) (name string, ok bool) {
	name = strings.ToLower(strings.TrimSuffix(s, "."))
	for i := 0; i < len(name); i++ {
		if name[i] >= 0x80 {
			a, err := idna.Lookup.ToASCII(name)
			if err != nil {
				return "", false
			}
			name = a
			break
		}
	}
	if len(name) > 253 {
		return "", false
	}
	for label := range strings.SplitSeq(name, ".") {
		if len(label) == 0 || len(label) > 63 {
			return "", false
		}
		for i := 0; i < len(label); i++ {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return "", false
			}
		}
	}
	return name, true
}

// within reports whether name is domain or below it. Both are canonical.
func within(name, domain string) bool {
	rest, ok := strings.CutSuffix(name, domain)
	return ok && (rest == "" || strings.HasSuffix(rest, "."))
}

func labelCount(name string) int { return strings.Count(name, ".") + 1 }

// lastLabels returns the rightmost n labels of a name.
func lastLabels(name string, n int) string {
	i := len(name)
	for ; n > 0 && i > 0; n-- {
		i = strings.LastIndexByte(name[:i], '.')
	}
	return name[i+1:]
}
