package wire

// Login is LOGIN (RFC 9051 §6.2.3).
type Login struct{ User, Password string }

// Login reads the arguments of LOGIN.
func (p *Parser) Login() (c Login) {
	p.Space()
	c.User = p.Astring()
	p.Space()
	c.Password = p.Astring()
	return c
}

// Authenticate is AUTHENTICATE (RFC 9051 §6.2.2).
type Authenticate struct {
	Mechanism string // in upper case
	// Initial is the base64 of the initial response, if HasInitial (RFC 4959).
	Initial    string
	HasInitial bool
}

// Authenticate reads the arguments of AUTHENTICATE.
func (p *Parser) Authenticate() (c Authenticate) {
	p.Space()
	c.Mechanism = p.Keyword()
	if p.err == nil && p.try(' ') {
		c.HasInitial = true
		c.Initial = string(p.b[p.i:]) // base64 or "=", checked when decoded
		p.i = len(p.b)
	}
	return c
}

// Enable reads the arguments of ENABLE (RFC 9051 §6.3.1), in upper case.
func (p *Parser) Enable() []string {
	var names []string
	for first := true; p.err == nil && (first || !p.AtEnd()); first = false {
		p.Space()
		names = append(names, p.Keyword())
	}
	return names
}

// IDField is one pair of ID.
type IDField struct{ Name, Value string }

// ID reads the argument of ID (RFC 2971 §3): at most 30 pairs, names of up to
// 30 octets, values of up to 1024.
func (p *Parser) ID() []IDField {
	p.Space()
	if p.peek() != '(' {
		if _, ok := p.nstring(); ok {
			p.fail("List or NIL expected")
		}
		return nil
	}
	var fields []IDField
	p.list(true, func() {
		f := IDField{Name: p.String()}
		p.Space()
		f.Value, _ = p.nstring()
		if len(fields) == 30 || len(f.Name) > 30 || len(f.Value) > 1024 {
			p.fail("ID is too long") // RFC 2971 §3.3
		}
		fields = append(fields, f)
	})
	return fields
}
