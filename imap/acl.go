package imap

import (
	"errors"
	"slices"
	"strings"

	"github.com/posta-mail/posta/auth/sasl"
	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// setACL is SETACL (RFC 4314 §3.1).
func (s *session) setACL(p *wire.Parser) reply {
	c := p.SetACL()
	if p.End() != nil {
		return syntax(p)
	}
	return s.changeACL(c, "SETACL completed")
}

// deleteACL is DELETEACL (RFC 4314 §3.2).
func (s *session) deleteACL(p *wire.Parser) reply {
	c := p.DeleteACL()
	if p.End() != nil {
		return syntax(p)
	}
	return s.changeACL(c, "DELETEACL completed")
}

// changeACL changes the rights of one identifier; without rights it is removed.
func (s *session) changeACL(c wire.ACL, done string) reply {
	if _, err := store.Rights(0).Modify(c.Rights); err != nil {
		return bad("Unknown right") // RFC 4314 §3.1
	}
	id, err := identifier(c.Identifier)
	if err != nil {
		return no("CANNOT", "Invalid identifier")
	}
	box, err := s.find(c.Mailbox)
	if err != nil {
		return s.failed(err)
	}
	// What is added or taken away depends on what there is.
	s.srv.rights.Lock()
	defer s.srv.rights.Unlock()
	list, err := store.ReadACL(s.ctx, box.acc, box.info.ID)
	if err != nil {
		return s.failed(err)
	}
	var old store.Rights
	if i := slices.IndexFunc(list, func(e store.ACLEntry) bool { return e.Identifier == id }); i >= 0 {
		old = list[i].Rights
	}
	owner := box.acc.Name()
	if id == owner {
		old = store.AllRights
	}
	rights, err := old.Modify(c.Rights)
	if err != nil {
		return bad("Unknown right")
	}
	switch {
	case id == owner && rights == store.AllRights:
		return ok(done) // as always
	case id == owner, id == "-"+owner && rights != 0:
		// RFC 4314 §3.1: nobody locks himself out.
		return no("CANNOT", "The owner has all rights")
	}
	if err := store.WriteACL(s.ctx, box.acc, box.info.ID, store.ACLEntry{Identifier: id, Rights: rights}); err != nil {
		if errors.Is(err, store.ErrInvalid) {
			return no("CANNOT", "Invalid identifier")
		}
		return s.failed(err)
	}
	return ok(done)
}

// identifier prepares an identifier (RFC 4314 §3): by SASLprep, but for the sign
// that makes it negative.
func identifier(sent string) (string, error) {
	name, negative := strings.CutPrefix(sent, "-")
	name, err := sasl.Prep(name)
	if err == nil && name == "" {
		err = store.ErrInvalid
	}
	if negative {
		name = "-" + name
	}
	return name, err
}

// getACL is GETACL (RFC 4314 §3.3). The owner, who needs no entry, is told
// first.
func (s *session) getACL(p *wire.Parser) reply {
	sent := p.Mailbox()
	if p.End() != nil {
		return syntax(p)
	}
	box, err := s.find(sent)
	if err != nil {
		return s.failed(err)
	}
	list, err := store.ReadACL(s.ctx, box.acc, box.info.ID)
	if err != nil {
		return s.failed(err)
	}
	owner := box.acc.Name()
	s.out.put("* ACL ")
	s.out.b = wire.AppendMailbox(s.out.b, box.name, s.utf8())
	s.entryOfACL(owner, store.AllRights)
	for _, e := range list {
		if e.Identifier != owner {
			s.entryOfACL(e.Identifier, e.Rights)
		}
	}
	s.out.put("\r\n")
	return ok("GETACL completed")
}

func (s *session) entryOfACL(id string, r store.Rights) {
	s.out.put(" ")
	s.out.b = wire.AppendString(s.out.b, id, s.utf8())
	s.out.put(" ")
	s.out.b = wire.AppendAstring(s.out.b, r.Protocol(), false)
	s.out.spill()
}

// listRights is LISTRIGHTS (RFC 4314 §3.4).
func (s *session) listRights(p *wire.Parser) reply {
	c := p.DeleteACL()
	if p.End() != nil {
		return syntax(p)
	}
	id, err := identifier(c.Identifier)
	if err != nil {
		return no("CANNOT", "Invalid identifier")
	}
	box, err := s.find(c.Mailbox)
	if err != nil {
		return s.failed(err)
	}
	if _, err := store.ReadACL(s.ctx, box.acc, box.info.ID); err != nil { // RFC 4314 §4: with right a only
		return s.failed(err)
	}
	always, optional := store.ListRights(box.acc.Name(), id)
	s.out.put("* LISTRIGHTS ")
	s.out.b = wire.AppendMailbox(s.out.b, box.name, s.utf8())
	s.out.put(" ")
	s.out.b = wire.AppendString(s.out.b, c.Identifier, s.utf8())
	s.out.put(" ")
	s.out.b = wire.AppendAstring(s.out.b, always, false)
	for _, group := range optional {
		s.out.put(" " + group)
	}
	s.out.put("\r\n")
	return ok("LISTRIGHTS completed")
}

// myRights is MYRIGHTS (RFC 4314 §3.5).
func (s *session) myRights(p *wire.Parser) reply {
	sent := p.Mailbox()
	if p.End() != nil {
		return syntax(p)
	}
	box, err := s.find(sent)
	if err != nil {
		return s.failed(err)
	}
	if err := s.sendMyRights(box.place, box.info.ID); err != nil {
		return s.failed(err)
	}
	return ok("MYRIGHTS completed")
}

// sendMyRights appends a MYRIGHTS response. Nothing is told of a mailbox that is
// gone.
func (s *session) sendMyRights(at place, id store.MailboxID) error {
	r, err := store.MyRights(s.ctx, at.acc, id)
	if err != nil {
		return err
	}
	s.out.put("* MYRIGHTS ")
	s.out.b = wire.AppendMailbox(s.out.b, at.name, s.utf8())
	s.out.put(" " + r.Protocol() + "\r\n")
	return nil
}
