package smtp

// charge takes memory that the client makes someone keep.
func (c *session) charge(n int) bool {
	if !c.budget.Acquire(n) {
		return false
	}
	c.charged += n
	return true
}

// refund is for what the Handler did not take.
func (c *session) refund(n int) {
	c.budget.Release(n)
	c.charged -= n
}

// cost is what keeping a path, and the options given with it, takes, roughly.
func (p Path) cost() int { return len(p.Local) + len(p.Domain) + pathOverhead }

func (o *MailOptions) cost() int { return len(o.EnvelopeID) + paramsCost(o.Params) }

func (o *RcptOptions) cost() int {
	return len(o.Original.Type) + len(o.Original.Address) + paramsCost(o.Params)
}

func paramsCost(params map[string]string) (n int) {
	for name, value := range params {
		n += len(name) + len(value) + pathOverhead
	}
	return n
}

func (c *session) discharge() {
	c.budget.Release(c.charged)
	c.charged = 0
}
