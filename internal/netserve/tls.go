package netserve

import "crypto/tls"

// ServerTLS is cfg with TLS 1.2 as the least (RFC 8997), also for the
// configurations that it picks by client. Cfg itself is not touched; nil stays nil.
func ServerTLS(cfg *tls.Config) *tls.Config {
	if cfg == nil {
		return nil
	}
	cfg = cfg.Clone()
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	if pick := cfg.GetConfigForClient; pick != nil {
		cfg.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			c, err := pick(h)
			if c != nil && c.MinVersion < tls.VersionTLS12 {
				c = c.Clone()
				c.MinVersion = tls.VersionTLS12
			}
			return c, err
		}
	}
	return cfg
}
