package smtp

import "time"

// tarpitMost is how many times Server.Tarpit a reply may wait at most.
const tarpitMost = 10

// tarpit waits before a reply to a mistake, the longer the more there were; not
// before the first, which happens to everyone, and not under stress, when
// connections are what is short. What was to be said before has been said then.
// A shutdown and the client's going end it.
func (c *session) tarpit() {
	n := c.bad + c.unknown + c.authFails - 1
	if c.srv.Tarpit <= 0 || n <= 0 || c.stressed() || c.flush() != nil {
		return
	}
	c.nc.Pause(time.Duration(min(n, tarpitMost)) * c.srv.Tarpit)
}
