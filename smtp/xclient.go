package smtp

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/posta-mail/posta/auth"
)

// xclientKeyword is what peers who may use XCLIENT find in the reply to EHLO:
// Postfix's command by which a proxy says whose session it passes on
// (XCLIENT_README).
const xclientKeyword = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"

// xclientArgs are the attributes of one command. An attribute that is not
// given is nil; one that is [UNAVAILABLE] or [TEMPUNAVAIL] has the zero value.
type xclientArgs struct {
	name, helo, login *string
	addr, destAddr    *netip.Addr
	port, destPort    *uint16
}

// xclient takes over what a proxy knows about its client, and begins the
// session anew: the client's words so far were the proxy's.
func (c *session) xclient(args string) {
	if !c.mayXClient {
		c.refuse(550, EnhancedCode{5, 7, 0}, "You may not use XCLIENT")
		return
	}
	a, bad := parseXClient(args)
	if bad != nil {
		c.refuseError(bad)
		return
	}
	p := c.conn.Peer()
	a.apply(&p)
	if a.addr != nil {
		c.xlogin = nil // another client
	}
	if a.login != nil {
		id, err := c.xclientLogin(p, *a.login)
		if err != nil {
			c.xclientFailed(err)
			return
		}
		c.xlogin = id
	}
	if err := c.nc.Announce(p.Remote, p.Local); err != nil {
		c.bye(Reply{421, EnhancedCode{4, 7, 0}, c.hostname + " Too many connections from this address"}, connReason(err, true))
		return
	}
	c.xclients = true
	c.nc.SetName(p.Name)
	c.nc.SetHELO(p.HELO)
	c.nc.SetIdentity(c.xlogin)
	c.restart()
}

// xclientLogin is the identity that LOGIN stands for; nil if the Server does
// not take a proxy's word for that.
func (c *session) xclientLogin(p auth.Peer, login string) (*auth.Identity, error) {
	if c.srv.XClientLogin == nil || login == "" {
		return nil, nil
	}
	c.nc.BeginCall()
	defer c.nc.EndCall()
	return c.srv.XClientLogin(c.ctx, p, login)
}

func (c *session) xclientFailed(err error) {
	if errors.Is(err, auth.ErrCredentials) || errors.Is(err, auth.ErrForbidden) {
		c.refuse(535, EnhancedCode{5, 7, 8}, "There is no such user")
		return
	}
	c.bye(Reply{421, EnhancedCode{4, 3, 0}, c.hostname + " Unable to proceed"}, fmt.Errorf("smtp: login of XCLIENT: %w", err))
}

// restart ends the Session and greets with a new one.
func (c *session) restart() {
	old := c.handler
	c.handler, c.ext = nil, nil
	old.Reset()
	old.Close()
	c.conn = &Conn{nc: c.nc, hostname: c.hostname, lmtp: c.srv.LMTP}
	c.bad, c.noops, c.authFails, c.unknown = 0, 0, 0, 0
	c.open()
}

// apply changes what is known of a client. Whoever names an address speaks of
// another client, of whom nothing else is known but what is said with it.
func (a *xclientArgs) apply(p *auth.Peer) {
	p.HELO = "" // it was the proxy's
	p.Identity = nil
	if !p.Proxy.IsValid() {
		p.Proxy = p.Remote
	}
	if a.addr != nil {
		p.Remote, p.Name = netip.AddrPortFrom(*a.addr, 0), ""
	}
	if a.port != nil {
		p.Remote = netip.AddrPortFrom(p.Remote.Addr(), *a.port)
	}
	if a.destAddr != nil {
		p.Local = netip.AddrPortFrom(*a.destAddr, p.Local.Port())
	}
	if a.destPort != nil {
		p.Local = netip.AddrPortFrom(p.Local.Addr(), *a.destPort)
	}
	if a.name != nil {
		p.Name = *a.name
	}
	if a.helo != nil {
		p.HELO = *a.helo
	}
}

// parseXClient parses the arguments of XCLIENT.
func parseXClient(args string) (xclientArgs, *Error) {
	var a xclientArgs
	words := strings.Fields(args)
	if len(words) == 0 {
		return a, badParam("Give attributes")
	}
	seen := make(map[string]bool, len(words))
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		name = strings.ToUpper(name)
		text, ok := decodeXtext(value)
		if !ok || text == "" || len(text) > maxDomain {
			return a, badParam("Malformed attribute")
		}
		if seen[name] {
			return a, badParam("Attribute given twice")
		}
		seen[name] = true
		if err := a.set(name, text); err != nil {
			return a, err
		}
	}
	return a, nil
}

// set takes one attribute.
func (a *xclientArgs) set(name, value string) *Error {
	ok := true
	unknown := strings.EqualFold(value, "[UNAVAILABLE]") || strings.EqualFold(value, "[TEMPUNAVAIL]")
	switch name {
	case "NAME":
		a.name, ok = nameAttr(strings.ToLower(value), unknown, isHELO)
	case "HELO":
		a.helo, ok = nameAttr(value, unknown, isHELO)
	case "LOGIN":
		a.login, ok = nameAttr(value, unknown, isLogin)
	case "ADDR":
		a.addr, ok = addrAttr(value, unknown)
	case "DESTADDR":
		a.destAddr, ok = addrAttr(value, unknown)
	case "PORT":
		a.port, ok = portAttr(value, unknown)
	case "DESTPORT":
		a.destPort, ok = portAttr(value, unknown)
	case "PROTO":
		// The client's own EHLO or HELO, which follows, says it again.
		ok = unknown || strings.EqualFold(value, "SMTP") || strings.EqualFold(value, "ESMTP")
	default:
		return badParam("Unknown attribute")
	}
	if !ok {
		return badParam("Bad value of attribute")
	}
	return nil
}

func nameAttr(s string, unknown bool, valid func(string) bool) (*string, bool) {
	if unknown {
		s = ""
		return &s, true
	}
	return &s, valid(s)
}

// isHELO is also for host names: those of the DNS are not always what they
// should be.
func isHELO(s string) bool {
	name, ok := heloName(s)
	return ok && name == s
}

func isLogin(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// addrAttr: IPv6 addresses have a prefix.
func addrAttr(s string, unknown bool) (*netip.Addr, bool) {
	var a netip.Addr
	if unknown {
		return &a, true
	}
	v6, is6 := cutPrefixFold(s, "IPV6:")
	a, err := netip.ParseAddr(v6)
	return &a, err == nil && a.Is6() == is6 && a.Zone() == ""
}

func portAttr(s string, unknown bool) (*uint16, bool) {
	var port uint16
	if unknown {
		return &port, true
	}
	n, err := strconv.ParseUint(s, 10, 16)
	port = uint16(n)
	return &port, err == nil
}
