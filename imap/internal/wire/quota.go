package wire

// SetQuota is SETQUOTA (RFC 9208 §4.1.3).
type SetQuota struct {
	Root   string
	Limits []QuotaLimit
}

// QuotaLimit is the limit of a resource.
type QuotaLimit struct {
	Resource string // in upper case
	Limit    uint64
}

// SetQuota reads the arguments of SETQUOTA.
func (p *Parser) SetQuota() (c SetQuota) {
	c.Root = p.Mailbox()
	p.Space()
	p.list(true, func() {
		l := QuotaLimit{Resource: p.Keyword()}
		p.Space()
		l.Limit = p.Number64()
		if len(c.Limits) == maxResources {
			p.fail("Too many resources")
			return
		}
		c.Limits = append(c.Limits, l)
	})
	return c
}

// maxResources bounds the resources of one SETQUOTA.
const maxResources = 16
