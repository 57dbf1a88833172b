package authres

import "net/netip"

// props leaves out the properties without a value.
func props(list ...Prop) []Prop {
	out := list[:0]
	for _, p := range list {
		if p.Value != "" {
			out = append(out, p)
		}
	}
	return out
}

// SPF is a result of SPF (RFC 8601 §2.7.2). mailFrom is the address or domain
// of MAIL FROM, helo the EHLO name: give the one that was checked, or both.
func SPF(value, mailFrom, helo string) Result {
	return Result{Method: MethodSPF, Value: value, Props: props(
		Prop{"smtp", "mailfrom", mailFrom}, Prop{"smtp", "helo", helo})}
}

// DKIM is the result of one signature (RFC 8601 §2.7.1): its d=, s=, i= and a=
// tags and the first characters of b= (RFC 6008). Empty ones are left out.
func DKIM(value, domain, selector, identifier, algorithm, b string) Result {
	return Result{Method: MethodDKIM, Value: value, Props: props(
		Prop{"header", "d", domain}, Prop{"header", "i", identifier}, Prop{"header", "s", selector},
		Prop{"header", "a", algorithm}, Prop{"header", "b", b})}
}

// DMARC is a result of DMARC: the Author Domain and the policy that applies to
// the message ("none", "quarantine", "reject"; empty leaves it out).
func DMARC(value, from, policy string) Result {
	return Result{Method: MethodDMARC, Value: value, Props: props(
		Prop{"header", "from", from}, Prop{"policy", "dmarc", policy})}
}

// ARC is the result of a chain (RFC 8617 §6): oldestPass is the lowest
// instance whose message signature verifies, "0" for all, and remote the
// address the message came from.
func ARC(value, oldestPass string, remote netip.Addr) Result {
	ip := ""
	if remote.IsValid() {
		ip = remote.Unmap().String()
	}
	return Result{Method: MethodARC, Value: value, Props: props(
		// An IPv6 address is quoted; some readers lose what follows quotes.
		Prop{"header", "oldest-pass", oldestPass}, Prop{"smtp", "remote-ip", ip})}
}

// IPRev is a result of the reverse lookup of an address (RFC 8601 §2.7.3); name
// is the host name found and goes into the comment.
func IPRev(value string, ip netip.Addr, name string) Result {
	r := Result{Method: MethodIPRev, Value: value, Comment: name}
	if ip.IsValid() {
		r.Props = []Prop{{"policy", "iprev", ip.Unmap().String()}}
	}
	return r
}

// Auth is the result of SMTP AUTH (RFC 8601 §2.7.4): user is the authenticated
// identity and mailFrom the address it used.
func Auth(value, user, mailFrom string) Result {
	return Result{Method: MethodAuth, Value: value, Props: props(
		Prop{"smtp", "auth", user}, Prop{"smtp", "mailfrom", mailFrom})}
}

// DNSWL is a result of a list of good addresses (RFC 8904 §3): zone is the list,
// code the address that it answered with, text its explanation. secure says
// whether DNSSEC vouches for the answer: "yes", "no", or "na" if that is not
// known. Empty ones are left out.
func DNSWL(value, zone string, code netip.Addr, text, secure string) Result {
	ip := ""
	if code.IsValid() {
		ip = code.Unmap().String()
	}
	return Result{Method: MethodDNSWL, Value: value, Props: props(
		Prop{"dns", "zone", zone}, Prop{"policy", "ip", ip}, Prop{"policy", "txt", text}, Prop{"dns", "sec", secure})}
}

// BIMI is a result of the lookup of a brand indicator: the domain and the
// selector of its record. The method is a draft's and not registered.
func BIMI(value, domain, selector string) Result {
	return Result{Method: MethodBIMI, Value: value, Props: props(
		Prop{"header", "d", domain}, Prop{"header", "selector", selector})}
}
