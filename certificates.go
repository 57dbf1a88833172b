package posta

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"
)

// Certificates serves one certificate from files and takes a new one up
// without a restart: when a handshake finds the files changed (looked at no
// more than once a second) they are read again. A pair that cannot be read
// leaves the old one in use. Safe for concurrent use.
type Certificates struct {
	certFile, keyFile string

	mu      sync.Mutex
	cert    *tls.Certificate
	stamp   [2]time.Time
	checked time.Time
}

// LoadCertificates reads a PEM certificate chain and its key.
func LoadCertificates(certFile, keyFile string) (*Certificates, error) {
	c := &Certificates{certFile: certFile, keyFile: keyFile}
	if err := c.Reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// Reload reads the files now. On an error the old certificate stays.
func (c *Certificates) Reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reload(c.stamps())
}

func (c *Certificates) reload(stamp [2]time.Time) error {
	cert, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("posta: certificate: %w", err)
	}
	c.cert, c.stamp = &cert, stamp
	return nil
}

func (c *Certificates) stamps() (s [2]time.Time) {
	for i, f := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(f); err == nil {
			s[i] = info.ModTime()
		}
	}
	return s
}

// GetCertificate is for tls.Config.
func (c *Certificates) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.checked) >= time.Second {
		c.checked = now
		if s := c.stamps(); s != c.stamp {
			_ = c.reload(s) // half-written pairs are tried again in a second
		}
	}
	return c.cert, nil
}

// TLSConfig returns a configuration for servers: this certificate, TLS 1.2 at
// least (RFC 8997).
func (c *Certificates) TLSConfig() *tls.Config {
	return &tls.Config{GetCertificate: c.GetCertificate, MinVersion: tls.VersionTLS12}
}
