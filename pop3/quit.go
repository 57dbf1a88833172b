package pop3

import "strconv"

// quit ends the session. After a login it is the UPDATE state, the only one in
// which messages are removed (RFC 1939 §6).
func (c *session) quit(string) {
	c.over = true
	if c.drop == nil {
		c.ok("Bye")
		return
	}
	uids := c.drop.deleted()
	if uids.Empty() {
		c.ok("Bye")
		return
	}
	err := c.drop.lock.confirm()
	if err == nil {
		expunged, expungeErr := c.drop.mb.Expunge(c.ctx, uids)
		c.gone, err = expunged.UIDs.Len(), expungeErr
	}
	if err != nil {
		c.log.Warn("messages could not be deleted", "server", "pop3", "peer", c.peer(), "err", err)
		c.bye(quitRefusal(err), err)
		return
	}
	c.log.Info("messages deleted", "server", "pop3", "peer", c.peer(), "messages", c.gone)
	c.ok("Bye, ", strconv.Itoa(c.gone), " messages deleted")
}

// quitRefusal says that messages stay, which the client must know.
func quitRefusal(err error) refusal {
	r := refusalOf(err)
	if r.code == codeNone {
		r.code = codeTemp
	}
	return refusal{r.code, "Messages were not deleted"}
}
