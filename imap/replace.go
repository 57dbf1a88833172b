package imap

import (
	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// replaced is the message that REPLACE replaces.
type replaced struct {
	uid    store.UID
	refuse reply // why it cannot be; the arguments are to be read all the same
}

// replace is REPLACE (RFC 8508 §3.2), uidReplace UID REPLACE (§3.3): APPEND and
// the end of another message in one commit.
func (s *session) replace(p *wire.Parser) reply    { return s.replaceMessage(p, "REPLACE", false) }
func (s *session) uidReplace(p *wire.Parser) reply { return s.replaceMessage(p, "UID REPLACE", true) }

func (s *session) replaceMessage(p *wire.Parser, name string, uid bool) reply {
	s.settle() // the selected mailbox is looked at
	set := wire.NumSet{Ranges: []wire.NumRange{p.One()}}
	if p.Err() != nil {
		if lit, n := p.Rest(); n > 0 {
			if err := s.skip(lit, maxDrain); err != nil {
				s.readFailed(err)
				return gone
			}
		}
		return syntax(p)
	}
	old := &replaced{}
	spans, fault := s.resolve(set, uid)
	uids := s.sel.uids(spans)
	switch {
	case fault != (reply{}):
		old.refuse = fault
	case s.sel.readOnly:
		old.refuse = no("READ-ONLY", "Mailbox is read-only")
	case uids.Empty():
		old.refuse = no("NONEXISTENT", "No such message")
	case s.anyGone(uids, 1):
		old.refuse = no("EXPUNGEISSUED", "Message has been expunged")
	default:
		old.uid = uids[0].From
	}
	return s.receive(name, p, old)
}

// check refuses what cannot be replaced, before the message is asked for.
func (old *replaced) check(in *incoming) error {
	switch {
	case old == nil:
	case old.refuse != (reply{}):
		return &refusal{old.refuse}
	case in.dest.acc.Name() != in.s.sel.acc.Name():
		// There is no commit that covers both.
		return &refusal{no("CANNOT", "Not possible between accounts")}
	}
	return nil
}
