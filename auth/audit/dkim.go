package audit

import (
	"crypto/rsa"
	"fmt"

	"github.com/posta-mail/posta/auth/dkim"
)

// dkim judges the keys of the selectors given.
func (in *inspection) dkim() {
	if len(in.opt.Selectors) == 0 {
		if !in.opt.NoMail {
			in.find(Finding{Code: DKIMNoSelectors, Subject: SubjectDKIM, Name: in.domain, Text: "no selectors were given, so that no key is judged: a signature's s= names them"})
		}
		return
	}
	for _, s := range in.opt.Selectors {
		in.dkimKey(s + "._domainkey." + in.domain)
	}
}

func (in *inspection) dkimKey(name string) {
	texts, ok := in.txt(SubjectDKIM, name)
	if !ok {
		return
	}
	for _, t := range texts {
		in.found(SubjectDKIM, name, t)
	}
	find := func(code Code, record, text string) {
		in.find(Finding{Code: code, Subject: SubjectDKIM, Name: name, Record: record, Text: text})
	}
	switch len(texts) {
	case 0:
		find(DKIMMissing, "", "there is no key: signatures with this selector fail")
		return
	case 1:
	default:
		find(DKIMMultiple, "", fmt.Sprintf("there are %d records: which one a verifier takes is not defined", len(texts)))
	}
	for _, t := range texts {
		key, err := dkim.ParseKeyRecord(t)
		if err != nil {
			find(DKIMSyntax, t, "the key cannot be read: "+err.Error())
			continue
		}
		in.judgeKey(key, t, find)
	}
}

func (in *inspection) judgeKey(key *dkim.KeyRecord, text string, find func(Code, string, string)) {
	if key.Revoked {
		find(DKIMRevoked, text, "the key has been revoked")
		return
	}
	if key.Key == nil {
		find(DKIMUnusable, text, fmt.Sprintf("keys of type %q are not known", key.Type))
		return
	}
	if _, ok := key.Key.(*rsa.PublicKey); ok {
		switch bits := key.Bits(); { // RFC 8301 §3.2
		case bits < dkim.DefaultMinRSABits:
			find(DKIMShort, text, fmt.Sprintf("the key has %d bits: verifiers refuse fewer than %d", bits, dkim.DefaultMinRSABits))
		case bits < dkim.DefaultMinSignRSABits:
			find(DKIMWeak, text, fmt.Sprintf("the key has %d bits: signers should use %d", bits, dkim.DefaultMinSignRSABits))
		case bits > 4096:
			find(DKIMLarge, text, fmt.Sprintf("the key has %d bits: verifiers need not support more than 4096", bits))
		}
	}
	if key.Testing {
		find(DKIMTesting, text, "t=y says that signatures are being tested and are not to be relied on")
	}
	algorithm := dkim.RSASHA256
	if key.Type == "ed25519" {
		algorithm = dkim.Ed25519SHA256
	}
	if err := key.Allows(algorithm); err != nil {
		find(DKIMUnusable, text, "the record does not let the key sign mail by SHA-256: "+err.Error())
	}
}
