package smtp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// TLSMode says when a client encrypts, and what it demands of the server.
type TLSMode int

// The modes. In none of them does a failed handshake lead to plain text on the
// same connection.
const (
	// TLSOpportunistic encrypts if the server offers STARTTLS, with whatever
	// certificate it has (RFC 7435).
	TLSOpportunistic TLSMode = iota
	// TLSNone is plain text, for closed networks and LMTP sockets.
	TLSNone
	// TLSRequired encrypts, with whatever certificate the server has.
	TLSRequired
	// TLSVerified encrypts and demands that the server prove its name.
	TLSVerified
)

// TLSPolicy says when a client encrypts and whom it takes for the server. The
// zero value encrypts where the server offers it and demands no proof; what
// came of it [Client.Verified] says. TLS 1.2 is the least in every policy.
type TLSPolicy struct {
	Mode TLSMode
	// Implicit makes the handshake before the first octet (RFC 8314 §3.3), as
	// on port 465. TLSOpportunistic and TLSNone then mean TLSRequired.
	Implicit bool
	// Names are reference identifiers (RFC 9525 §6.1): domains, or addresses
	// without brackets. The certificate must be valid and be for one of them.
	// Empty: for the host that is connected to.
	Names []string
	// Verify, if not nil, decides instead of the public key infrastructure and
	// Names, as DANE does (RFC 7672). host is the name given in the handshake.
	// With Verified it may ask for the usual check too. It is called in the
	// handshake and must be safe for concurrent use.
	Verify func(host string, state tls.ConnectionState) error
	// VerifyKey tells what Verify accepts: a [Transport] takes two policies with
	// Verify for the same if their keys, and all else, are equal. Empty:
	// connections under this policy are not shared.
	VerifyKey string
	// Config is for the handshake: RootCAs for other authorities than the
	// system's, Certificates for one of the client's own (SASL EXTERNAL),
	// ServerName for another name in the handshake (RFC 6066 §3) than that of the
	// host. InsecureSkipVerify is not looked at. A Transport tells two by their
	// pointers; do not change one in use. Nil is the zero value.
	Config *tls.Config
}

// VerifiedTLS is the policy that demands STARTTLS and proof of one of the
// names, or of the host connected to if there are none.
func VerifiedTLS(names ...string) TLSPolicy { return TLSPolicy{Mode: TLSVerified, Names: names} }

// ErrUnverified is wrapped by Client.Verified where nothing was proved, because
// nothing is encrypted.
var ErrUnverified = errors.New("smtp: server not verified")

// tlsKey is a TLSPolicy as something to compare.
type tlsKey struct {
	mode      TLSMode
	implicit  bool
	names     string
	verify    bool
	verifyKey string
	config    *tls.Config
}

// key tells policies apart; shared is false for one that equals no other.
func (p TLSPolicy) key() (k tlsKey, shared bool) {
	k = tlsKey{p.Mode, p.Implicit, "", p.Verify != nil, p.VerifyKey, p.Config}
	if len(p.Names) > 0 {
		names := strings.Split(strings.ToLower(strings.Join(p.Names, "\x00")), "\x00")
		slices.Sort(names)
		k.names = strings.Join(names, "\x00")
	}
	return k, p.Verify == nil || p.VerifyKey != ""
}

// required reports whether plain text is an error.
func (p TLSPolicy) required() bool {
	return p.Implicit || p.Mode == TLSRequired || p.Mode == TLSVerified
}

// config is the configuration of a handshake with host. What the check of the
// server says goes to verified, and ends the handshake if it was demanded.
func (p TLSPolicy) config(host string, verified func(error)) *tls.Config {
	cfg := p.Config.Clone()
	if cfg == nil {
		cfg = &tls.Config{}
	}
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12) // RFC 8996
	if cfg.ServerName == "" {
		cfg.ServerName = host
	}
	// The check below takes the place of tls's own, which knows one name.
	cfg.InsecureSkipVerify = true
	also := cfg.VerifyConnection
	cfg.VerifyConnection = func(state tls.ConnectionState) error {
		if also != nil {
			if err := also(state); err != nil {
				return err
			}
		}
		err := p.check(cfg, state)
		verified(err)
		if p.Mode == TLSVerified {
			return err
		}
		return nil
	}
	return cfg
}

// check is nil if the server is who it should be.
func (p TLSPolicy) check(cfg *tls.Config, state tls.ConnectionState) error {
	if p.Verify != nil {
		return p.Verify(cfg.ServerName, state)
	}
	names := p.Names
	if len(names) == 0 {
		names = []string{cfg.ServerName}
	}
	return verifyNames(cfg, state, names)
}

// VerifyNames checks a server's certificate by the public key infrastructure:
// it has to be valid by the authorities of cfg (nil: the system's) and to be for
// one of names (RFC 9525 §6). It is what a TLSPolicy without Verify does. The
// error is a *tls.CertificateVerificationError.
func VerifyNames(cfg *tls.Config, state tls.ConnectionState, names ...string) error {
	if cfg == nil {
		cfg = &tls.Config{}
	}
	return verifyNames(cfg, state, names)
}

func verifyNames(cfg *tls.Config, state tls.ConnectionState, names []string) error {
	certs := state.PeerCertificates
	fail := func(err error) error {
		return &tls.CertificateVerificationError{UnverifiedCertificates: certs, Err: err}
	}
	if len(certs) == 0 {
		return fail(errors.New("the server has no certificate"))
	}
	opts := x509.VerifyOptions{Roots: cfg.RootCAs, Intermediates: x509.NewCertPool()}
	if cfg.Time != nil {
		opts.CurrentTime = cfg.Time()
	}
	for _, c := range certs[1:] {
		opts.Intermediates.AddCert(c)
	}
	if _, err := certs[0].Verify(opts); err != nil {
		return fail(err)
	}
	err := errors.New("no name to verify")
	for _, name := range names {
		if name == "" {
			continue // VerifyHostname must not be asked for nothing
		}
		if err = verifyName(certs[0], name); err == nil {
			return nil
		}
	}
	return fail(err)
}

// verifyName compares one reference identifier. Common names do not count, and
// a wildcard is one whole label on the left (RFC 9525 §6.3); x509 sees to both.
func verifyName(cert *x509.Certificate, name string) error {
	if net.ParseIP(name) == nil {
		canonical, err := canonicalDomain(strings.TrimSuffix(name, "."))
		if err != nil {
			return fmt.Errorf("bad name %q: %w", name, err)
		}
		name = canonical
	}
	return cert.VerifyHostname(name)
}
