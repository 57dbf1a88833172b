package audit

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/posta-mail/posta/mta/tlspolicy"
)

// sts judges the MTA-STS record and policy.
func (in *inspection) sts() {
	if in.nullMX || len(in.hosts) == 0 {
		return
	}
	name := "_mta-sts." + in.domain
	texts, ok := in.txt(SubjectSTS, name)
	if !ok {
		return
	}
	r, err := tlspolicy.ParseSTSRecord(texts)
	find := func(code Code, text, should string) {
		in.find(Finding{Code: code, Subject: SubjectSTS, Name: name, Text: text, Should: should})
	}
	switch {
	case errors.Is(err, tlspolicy.ErrNone):
		find(STSMissing, "without a policy, whoever is between two servers can switch TLS off", "v=STSv1; id="+time.Now().UTC().Format("20060102T150405")+";")
		return
	case errors.Is(err, tlspolicy.ErrMultiple):
		find(STSMultiple, "more than one record: none of them counts", "")
		return
	case err != nil:
		find(STSSyntax, err.Error(), "")
		return
	}
	in.found(SubjectSTS, name, r.String())
	if in.a.HTTP == nil {
		find(STSNotFetched, "the policy itself was not looked at", "")
		return
	}
	url := "https://mta-sts." + in.domain + "/.well-known/mta-sts.txt"
	body, err := in.fetch(url)
	if err != nil {
		in.find(Finding{Code: STSFetch, Subject: SubjectSTS, Name: url, Text: "the policy cannot be fetched: " + err.Error()})
		return
	}
	p, err := tlspolicy.ParsePolicy(body)
	if err != nil {
		in.find(Finding{Code: STSPolicy, Subject: SubjectSTS, Name: url, Text: err.Error()})
		return
	}
	in.found(SubjectSTS, url, strings.Join(strings.Split(strings.TrimSpace(p.String()), "\r\n"), ", "))
	in.judgeSTS(url, p)
}

func (in *inspection) judgeSTS(url string, p *tlspolicy.Policy) {
	find := func(code Code, text string) {
		in.find(Finding{Code: code, Subject: SubjectSTS, Name: url, Text: text})
	}
	switch p.Mode {
	case tlspolicy.None:
		find(STSNone, "mode none: there is no policy")
		return
	case tlspolicy.Testing:
		find(STSTesting, "mode testing: mail is delivered without TLS all the same")
	}
	if p.MaxAge < 24*time.Hour {
		find(STSAge, fmt.Sprintf("max_age is %v: the policy is forgotten between two mails; weeks are usual", p.MaxAge))
	}
	for _, h := range in.hosts {
		if !p.Matches(h) {
			in.find(Finding{Code: STSMX, Subject: SubjectSTS, Name: url, Text: "the policy does not name the mail server " + h + ": mail is not sent to it", Should: "mx: " + h})
		}
	}
}

// fetch gets a policy (RFC 8461 §3.3): no redirects, 200 only, text/plain.
func (in *inspection) fetch(url string) ([]byte, error) {
	client := *in.a.HTTP
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	req, err := http.NewRequestWithContext(in.ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", res.StatusCode)
	}
	if kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type")); err != nil || kind != "text/plain" {
		return nil, fmt.Errorf("its type is %.60q, not text/plain", res.Header.Get("Content-Type"))
	}
	return io.ReadAll(io.LimitReader(res.Body, tlspolicy.MaxPolicyBytes+1))
}

// tlsrpt judges the record that asks for reports about TLS.
func (in *inspection) tlsrpt() {
	if in.nullMX || len(in.hosts) == 0 {
		return
	}
	name := "_smtp._tls." + in.domain
	texts, ok := in.txt(SubjectTLSRPT, name)
	if !ok {
		return
	}
	r, err := tlspolicy.ParseReportRecord(texts)
	f := Finding{Subject: SubjectTLSRPT, Name: name}
	switch {
	case err == nil:
		in.found(SubjectTLSRPT, name, r.String())
		return
	case errors.Is(err, tlspolicy.ErrNone):
		f.Code, f.Text = TLSRPTMissing, "nobody tells when mail could not be sent over TLS"
		f.Should = tlspolicy.ReportRecord{URIs: []string{"mailto:tlsrpt@" + in.domain}}.String()
	case errors.Is(err, tlspolicy.ErrMultiple):
		f.Code, f.Text = TLSRPTMultiple, "more than one record: none of them counts"
	default:
		f.Code, f.Text = TLSRPTSyntax, err.Error()
	}
	in.find(f)
}
