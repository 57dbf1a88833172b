package verify

import (
	"errors"

	"github.com/posta-mail/posta/auth/arc"
	"github.com/posta-mail/posta/auth/authres"
	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/auth/dmarc"
	"github.com/posta-mail/posta/auth/dnsbl"
	"github.com/posta-mail/posta/auth/iprev"
	"github.com/posta-mail/posta/auth/spf"
)

// Results are what the checks said of one message.
type Results struct {
	// Envelope is what was known of the message.
	Envelope Envelope
	// SPF is about MAIL FROM, or about HELO where that is null (RFC 7208 §2.4).
	SPF spf.Result
	// HELO is SPF's result for HELO (RFC 7208 §2.3).
	HELO spf.Result
	// DKIM has one result for each signature, from the top of the header.
	DKIM []dkim.Result
	// ARC is the chain of those who forwarded the message.
	ARC arc.Result
	// DMARC is the outcome for the author's domain.
	DMARC dmarc.Result
	// IPRev says whether the client's address has a name with that address; nil
	// if that was not asked.
	IPRev *iprev.Result
	// Lists are what block and allow lists say of the client's address.
	Lists []dnsbl.Result
	// Override is what a trusted sealer says that speaks against DMARC's fail:
	// it passed where he received the message. Nil without.
	Override *arc.Set

	hostname   string
	policy     Policy
	unreadable bool // there is a From, or a header, that DMARC cannot read
}

// AuthResults are the results as an Authentication-Results field tells them, in
// the order SPF, address, DKIM, ARC, DMARC. Block lists have no method there.
func (r *Results) AuthResults() []authres.Result {
	var all []authres.Result
	if r.Envelope.User != "" {
		all = append(all, authres.Auth("pass", r.Envelope.User, r.Envelope.MailFrom))
	}
	if r.Envelope.MailFrom != "" {
		all = append(all, authres.SPF(r.SPF.Status.String(), r.Envelope.MailFrom, ""))
	}
	if r.Envelope.HELO != "" || r.Envelope.MailFrom == "" {
		all = append(all, authres.SPF(r.HELO.Status.String(), "", r.Envelope.HELO))
	}
	if r.IPRev != nil {
		all = append(all, authres.IPRev(r.IPRev.Status.String(), r.IPRev.IP, r.IPRev.Name))
	}
	for i := range r.Lists {
		if l := &r.Lists[i]; l.List.Allow && l.Listed {
			all = append(all, authres.DNSWL(l.DNSWL(), l.List.String(), l.Answers[0], l.Reason, ""))
		}
	}
	all = append(all, r.signatures()...)
	if r.ARC.Instance > 0 || r.ARC.Err != nil {
		all = append(all, r.ARC.AuthResult(r.Envelope.Remote))
	}
	res := authres.DMARC(string(r.DMARC.Status), r.DMARC.Domain, string(r.DMARC.Policy))
	res.Reason = r.DMARC.Reason()
	return append(all, res)
}

// signatures are the results of DKIM; of those that were not tried there may be
// thousands, which are left out.
func (r *Results) signatures() []authres.Result {
	var all []authres.Result
	for i := range r.DKIM {
		d := &r.DKIM[i]
		if errors.Is(d.Err, dkim.ErrTooManySignatures) {
			continue
		}
		res := authres.DKIM(string(d.Status), d.Domain, d.Selector, d.Identifier, string(d.Algorithm), d.SignaturePrefix)
		res.Reason = d.Reason()
		all = append(all, res)
	}
	if len(all) == 0 {
		all = append(all, authres.Result{Method: authres.MethodDKIM, Value: string(dkim.StatusNone)})
	}
	return all
}

// Header is the Authentication-Results field as a value, as a sealer of ARC
// wants it.
func (r *Results) Header() *authres.Header {
	return &authres.Header{ServID: r.hostname, UTF8: r.Envelope.UTF8, Results: r.AuthResults()}
}

// Field is the Authentication-Results field (RFC 8601), folded and with its
// CRLF, to put on top of the message. Fields of the message that claim to be
// from this system must be taken out first: see authres.Remove. The error is
// authres.ErrName, for a Hostname that cannot be one.
func (r *Results) Field() (string, error) { return r.Header().Field() }
