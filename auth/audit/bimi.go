package audit

import (
	"cmp"

	"github.com/posta-mail/posta/auth/bimi"
)

// bimi judges the brand indicator's record, if there is one.
func (in *inspection) bimi() {
	name := cmp.Or(in.opt.BIMISelector, bimi.DefaultSelector) + "._bimi." + in.domain
	texts, ok := in.txt(SubjectBIMI, name)
	if !ok {
		return
	}
	n := 0
	for _, t := range texts {
		if !bimi.IsRecord(t) {
			continue
		}
		n++
		in.found(SubjectBIMI, name, t)
		r, err := bimi.ParseRecord(t)
		switch {
		case err != nil:
			in.find(Finding{Code: BIMISyntax, Subject: SubjectBIMI, Name: name, Record: t, Text: err.Error()})
		case !r.Declined() && !in.policyOK:
			in.find(Finding{Code: BIMIPolicy, Subject: SubjectBIMI, Name: name, Record: t, Text: "the indicator is shown only for domains under a DMARC policy of quarantine or reject, subdomains included"})
		}
	}
	if n > 1 {
		in.find(Finding{Code: BIMIMultiple, Subject: SubjectBIMI, Name: name, Text: "more than one record: none of them counts"})
	}
}
