package netserve

import (
	"context"
	"crypto/tls"
	"crypto/x509"
)

// ServerTLS is cfg with TLS 1.2 as the least (RFC 8997), also for the
// configurations that it picks by client, and telling StartTLS which certificate
// is shown. Cfg itself is not touched; nil stays nil.
func ServerTLS(cfg *tls.Config) *tls.Config {
	if cfg == nil {
		return nil
	}
	cfg = strict(cfg)
	if pick := cfg.GetConfigForClient; pick != nil {
		cfg.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			c, err := pick(h)
			if c != nil {
				c = strict(c)
			}
			return c, err
		}
	}
	return cfg
}

// strict is a copy with what ServerTLS says.
func strict(cfg *tls.Config) *tls.Config {
	cfg = cfg.Clone()
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	//lint:ignore SA1019 who still sets it keeps it, and no certificate is known
	if cfg.NameToCertificate != nil {
		return cfg
	}
	get, certificates := cfg.GetCertificate, cfg.Certificates
	cfg.Certificates = nil // or GetCertificate would be asked only by clients that name the server
	cfg.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		c, err := choose(h, get, certificates)
		if shown, ok := h.Context().Value(shownKey{}).(**tls.Certificate); ok && err == nil {
			*shown = c
		}
		return c, err
	}
	return cfg
}

// choose does what crypto/tls does with a configuration's certificates.
func choose(h *tls.ClientHelloInfo, get func(*tls.ClientHelloInfo) (*tls.Certificate, error), certificates []tls.Certificate) (*tls.Certificate, error) {
	if get != nil && (len(certificates) == 0 || h.ServerName != "") {
		if c, err := get(h); c != nil || err != nil {
			return c, err
		}
	}
	if len(certificates) > 1 {
		for i := range certificates {
			if h.SupportsCertificate(&certificates[i]) == nil {
				return &certificates[i], nil
			}
		}
	}
	if len(certificates) == 0 {
		return nil, nil // crypto/tls knows how to say so
	}
	return &certificates[0], nil
}

// shownKey is where the context of a handshake has the place for the certificate.
type shownKey struct{}

// watchShown lets a handshake with a configuration of ServerTLS under ctx tell
// which certificate it shows. After the handshake the function returns it, nil for
// one that was resumed under TLS 1.3, where none is shown.
func watchShown(ctx context.Context) (context.Context, func() *x509.Certificate) {
	shown := new(*tls.Certificate)
	return context.WithValue(ctx, shownKey{}, shown), func() *x509.Certificate {
		switch c := *shown; {
		case c == nil || len(c.Certificate) == 0:
			return nil
		case c.Leaf != nil:
			return c.Leaf
		default:
			leaf, err := x509.ParseCertificate(c.Certificate[0])
			if err != nil {
				return nil
			}
			return leaf
		}
	}
}
