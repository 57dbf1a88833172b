package verify

import (
	"errors"
	"fmt"
	"slices"

	"github.com/posta-mail/posta/auth/dmarc"
	"github.com/posta-mail/posta/auth/dnsbl"
	"github.com/posta-mail/posta/auth/iprev"
	"github.com/posta-mail/posta/auth/spf"
)

// Action is what to do with a message.
type Action int

// The actions.
const (
	Accept     Action = iota // as far as authentication goes
	Quarantine               // accept it and file it as junk
	Defer                    // refuse it for now
	Reject                   // refuse it for good
)

// String names the action in lower case.
func (a Action) String() string {
	switch a {
	case Accept:
		return "accept"
	case Quarantine:
		return "quarantine"
	case Defer:
		return "defer"
	case Reject:
		return "reject"
	}
	return "unknown"
}

// Policy is how far a receiver goes beyond what the standards ask. The zero
// value refuses nothing: what fails is filed as junk.
type Policy struct {
	// RejectSPFFail refuses mail whose sender SPF says may not send, whatever
	// DMARC says (RFC 7208 §8.4). Forwarded mail is lost by it.
	RejectSPFFail bool
	// RejectDMARC refuses mail that fails under a policy of reject without
	// other evidence against it. RFC 9989 §7.4 asks receivers not to: mail of
	// lists and forwarders is lost by it.
	RejectDMARC bool
	// RejectNoName refuses mail from addresses without a name that has them
	// (RFC 7372 §3.3 has the reply).
	RejectNoName bool
	// RejectScore refuses mail from addresses whose dnsbl.Score is that much or
	// more. 0: none; a score above 0 is evidence all the same.
	RejectScore int
	// DeferTempErrors refuses mail for now whose DMARC result hangs on a DNS
	// failure, instead of accepting it.
	DeferTempErrors bool
}

// Disposition is what to do with a message, and why.
type Disposition struct {
	Action Action
	// Code and Enhanced are the reply for Defer and Reject: the codes of RFC
	// 7372, RFC 7208 and RFC 5321. Zero for the others.
	Code     int
	Enhanced [3]int
	// Reason is a fixed English text, fit for a reply; empty where there is
	// nothing to tell.
	Reason string
	// Override says why a failure of DMARC was not acted on, in the words of
	// an aggregate report (RFC 9990): "local_policy" or "policy_test_mode".
	// Empty where it was, or where there was none.
	Override string
}

// Recommend says what to do with the message, as far as its authentication
// goes. evidence says that something else speaks against it, such as a filter:
// then, and when the client is on a block list, a policy of reject is followed
// (RFC 9989 §7.4).
func (r *Results) Recommend(evidence ...bool) Disposition {
	if d, ok := r.client(); ok {
		return d
	}
	against := r.policy.RejectDMARC || dnsbl.Score(r.Lists) > 0 || slices.Contains(evidence, true)
	switch d := &r.DMARC; {
	case errors.Is(d.Err, dmarc.ErrManyAuthors), errors.Is(d.Err, dmarc.ErrAuthorDomain), r.unreadable:
		// Nobody can check such an author, but somebody may be shown one: that is
		// how a policy would be got round (RFC 9989 §5.3.1).
		return Disposition{Action: Quarantine, Reason: "From does not name one domain"}
	case d.Status == dmarc.StatusTempError && r.policy.DeferTempErrors:
		return Disposition{Action: Defer, Code: 451, Enhanced: [3]int{4, 7, 26}, Reason: "DMARC cannot be evaluated for now"}
	case d.Status != dmarc.StatusFail:
		return Disposition{}
	case r.Override != nil:
		return Disposition{Reason: fmt.Sprintf("DMARC passed where %s received the message", r.Override.Seal.Domain), Override: "local_policy"}
	case d.Handling(against) == dmarc.Reject:
		return Disposition{Action: Reject, Code: 550, Enhanced: [3]int{5, 7, 26}, Reason: "Message fails DMARC, and the policy of " + d.Domain + " is reject"} // RFC 7372 §3.4
	case d.Handling(against) == dmarc.Quarantine:
		res := Disposition{Action: Quarantine, Reason: "Message fails DMARC"}
		if d.Policy == dmarc.Reject {
			res.Override = "local_policy"
		}
		return res
	case d.Testing && d.Published != dmarc.None:
		return Disposition{Reason: "Message fails DMARC", Override: "policy_test_mode"}
	}
	return Disposition{Reason: "Message fails DMARC"}
}

// client judges the machine that sends the message.
func (r *Results) client() (Disposition, bool) {
	d := Disposition{Action: Reject, Code: 550}
	switch p := &r.policy; {
	case p.RejectScore > 0 && dnsbl.Score(r.Lists) >= p.RejectScore:
		d.Code, d.Enhanced, d.Reason = 554, [3]int{5, 7, 1}, "Your address is on a block list"
		for _, l := range r.Lists {
			if l.Listed && !l.List.Allow {
				d.Reason = "Your address is on the block list " + l.List.String()
				break
			}
		}
	case p.RejectNoName && r.IPRev != nil && (r.IPRev.Status == iprev.Fail || r.IPRev.Status == iprev.PermError):
		d.Enhanced, d.Reason = [3]int{5, 7, 25}, "Your address has no name that has it" // RFC 7372 §3.3
	case p.RejectSPFFail && r.SPF.Status == spf.Fail:
		d.Enhanced, d.Reason = [3]int{5, 7, 23}, "SPF validation failed" // RFC 7372 §3.2
	default:
		return Disposition{}, false
	}
	return d, true
}
