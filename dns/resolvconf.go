package dns

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	mdns "github.com/miekg/dns"
)

const (
	resolvConfPath  = "/etc/resolv.conf"
	resolvConfEvery = 5 * time.Second // how often the file is looked at
	maxServers      = 16
)

// resolvConf is the list of servers of the host, read again when it changed.
type resolvConf struct {
	mu      sync.Mutex
	path    string // resolvConfPath if empty
	checked time.Time
	mtime   time.Time
	list    []string
}

func (c *resolvConf) servers(now time.Time) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.list != nil && now.Sub(c.checked) < resolvConfEvery {
		return c.list
	}
	c.checked = now
	path := c.path
	if path == "" {
		path = resolvConfPath
	}
	fi, err := os.Stat(path)
	if err == nil && c.list != nil && fi.ModTime().Equal(c.mtime) {
		return c.list
	}
	c.list = []string{"127.0.0.1:53"} // resolv.conf(5): without a file, the local host
	if err != nil {
		c.mtime = time.Time{} // the same file may come back
		return c.list
	}
	c.mtime = fi.ModTime()
	conf, err := mdns.ClientConfigFromFile(path)
	if err != nil || len(conf.Servers) == 0 {
		return c.list
	}
	c.list = nil
	for _, s := range conf.Servers[:min(len(conf.Servers), maxServers)] {
		c.list = append(c.list, withPort(s))
	}
	return c.list
}

// servers is the list to ask, every element with a port.
func (r *Resolver) servers() []string {
	if len(r.Servers) == 0 {
		return r.conf.servers(time.Now())
	}
	out := make([]string, len(r.Servers))
	for i, s := range r.Servers {
		out[i] = withPort(s)
	}
	return out
}

// withPort adds port 53 where there is none.
func withPort(s string) string {
	if _, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return net.JoinHostPort(strings.Trim(s, "[]"), "53")
	}
	if _, _, err := net.SplitHostPort(s); err != nil {
		return net.JoinHostPort(s, "53")
	}
	return s
}
