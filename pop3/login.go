package pop3

import (
	"strconv"

	"github.com/posta-mail/posta/auth"
)

// enter ends PASS and AUTH: it opens the mailbox of a user who has proved to
// be one, or refuses.
func (c *session) enter(mech string, id *auth.Identity, err error) {
	if err == nil {
		c.drop, err = c.open(c.ctx, id.Account)
	}
	if c.trace.Login != nil {
		c.trace.Login(c.peer(), mech, id, err)
	}
	if err != nil {
		c.log.Info("login failed", "server", "pop3", "peer", c.peer(), "err", err)
		c.loginFailed(refusalOf(err))
		return
	}
	c.state = stateTransaction
	c.nc.SetIdentity(id)
	c.log.Info("logged in", "server", "pop3", "peer", c.peer(), "account", id.Account, "messages", c.drop.count)
	c.ok(c.drop.summary()...)
}

// loginFailed counts and answers a login that failed.
func (c *session) loginFailed(r refusal) {
	if c.failures++; c.failures >= c.maxAuth {
		c.linger = true
		c.bye(r, errAbuse)
		return
	}
	c.fail(r)
}

// summary is what the mailbox holds.
func (d *maildrop) summary() []string {
	return []string{strconv.Itoa(d.count), " messages (", strconv.FormatInt(d.size, 10), " octets)"}
}
