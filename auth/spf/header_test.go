package spf_test

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"

	"github.com/posta-mail/posta/auth/spf"
)

var headerForm = regexp.MustCompile(`^(none|neutral|pass|fail|softfail|temperror|permerror) ` +
	`\((?:[^()\\]|\\.)*\)(?: [a-z-]+=(?:[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*|"(?:[^"\\]|\\.)*")(?:;|$))+$`)

// checkHeader checks that a value is one well-formed field (RFC 7208 §9.1).
func checkHeader(t *testing.T, v string) {
	t.Helper()
	flat := strings.ReplaceAll(v, "\r\n\t", " ")
	assert.False(t, strings.ContainsAny(flat, "\r\n\t\x00"), "%q", v)
	assert.Regexp(t, headerForm, flat)
	assert.True(t, utf8.ValidString(v))
	for line := range strings.SplitSeq(v, "\r\n") {
		assert.LessOrEqual(t, len(line), 900)
		assert.NotEmpty(t, strings.TrimSpace(line))
	}
}

func TestReceivedSPF(t *testing.T) {
	r := spf.Result{
		Status: spf.Pass, Domain: "example.com", Sender: "user@example.com", HELO: "mx.example.com",
		IP: netip.MustParseAddr("192.0.2.1"), Mechanism: "mx",
	}
	assert.Equal(t, "pass (mx.example.org: domain of user@example.com designates\r\n"+
		"\t192.0.2.1 as permitted sender) receiver=mx.example.org;\r\n"+
		"\tclient-ip=192.0.2.1; envelope-from=\"user@example.com\";\r\n"+
		"\thelo=mx.example.com; identity=mailfrom; mechanism=mx", r.ReceivedSPF("mx.example.org"))
	checkHeader(t, r.ReceivedSPF("mx.example.org"))

	r.IP, r.Status, r.Mechanism, r.Err = netip.MustParseAddr("2001:db8::1"), spf.PermError, "", spf.ErrMultipleRecords
	r.Identity, r.Sender = spf.HELO, "postmaster@example.com"
	assert.Equal(t, "permerror (policy of example.com cannot be interpreted)\r\n"+
		"\tclient-ip=\"2001:db8::1\"; envelope-from=\"postmaster@example.com\";\r\n"+
		"\thelo=mx.example.com; identity=helo;\r\n"+
		"\tproblem=\"spf: more than one record\"", r.ReceivedSPF(""))
}

// Where nothing matched the mechanism is "default" (RFC 7208 §9.1).
func TestReceivedSPFDefault(t *testing.T) {
	for status, want := range map[spf.Status]string{spf.Neutral: "default", spf.None: "", spf.TempError: ""} {
		got, err := spf.ParseReceived(spf.Result{Status: status, Domain: "example.com"}.ReceivedSPF("mx.example.org"))
		assert.NoError(t, err)
		assert.Equal(t, want, got.Mechanism, status)
	}
}

func TestReceivedSPFHostile(t *testing.T) {
	for _, s := range []string{
		"a\r\nInjected: yes", "a)b(c\\", `a"b\`, "\x00\x7f\u0085\u2028", "ü@bücher.example", "\xff\xfe",
		strings.Repeat("x", 5000), strings.Repeat(`"\()`, 500), strings.Repeat("ü", 200), "  a   b  ", "", "..", ".",
		strings.Repeat("a ", 300), strings.Repeat("a", 319) + ".b", "\n\n\n",
	} {
		for status := spf.None; status <= spf.PermError; status++ {
			for _, id := range []spf.Identity{spf.MailFrom, spf.HELO} {
				r := spf.Result{Status: status, Identity: id, Domain: s, Sender: s, HELO: s, Mechanism: s, Err: &spf.SyntaxError{Term: s, Reason: s}}
				v := r.ReceivedSPF(s)
				checkHeader(t, v)
				assert.NotContains(t, v, "\nInjected")
			}
		}
	}
}
